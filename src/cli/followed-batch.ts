import { batchDecider, isDone, type BatchState } from '../commands/deveui.ts';
import type { BatchEvent } from '../events/deveui.ts';
import { domainEvent } from '../events/registry.ts';
import type { EventStore } from '../event-store/port.ts';
import type { StreamName } from '../event-store/stream-name.ts';

/** A batch as its events have told it so far, whichever process works on it. */
export class FollowedBatch {
  readonly registered: string[] = [];
  readonly unconfirmed: string[] = [];
  conflictedCount = 0;
  /** Why it failed, when that is how it stands. */
  reason: string | undefined;
  readonly #store: EventStore;
  readonly #stream: StreamName;
  #state: BatchState = batchDecider.initialState;
  #next = 0n;

  constructor(store: EventStore, stream: StreamName) {
    this.#store = store;
    this.#stream = stream;
  }

  /** @throws LedgerError `store-unavailable`; what was read until then stands */
  async catchUp(): Promise<void> {
    for await (const recorded of this.#store.readStream(this.#stream, { from: this.#next })) {
      this.#apply(domainEvent(recorded) as BatchEvent);
      this.#next = recorded.revision + 1n;
    }
  }

  get size(): number {
    return this.#state.situation === 'missing' ? 0 : this.#state.size;
  }

  get isCompleted(): boolean {
    return this.#state.situation === 'completed';
  }

  /** Nothing is sent any more, nor on its way. */
  get isDone(): boolean {
    return isDone(this.#state);
  }

  /** What the provider may have registered; only asking for it again would tell. */
  get notKnown(): string[] {
    if (this.#state.situation === 'missing') return [];
    return this.#state.open
      .filter(({ phase, mayBeRegistered }) => phase === 'in-flight' || mayBeRegistered)
      .map(({ devEui }) => devEui);
  }

  #apply(event: BatchEvent): void {
    this.#state = batchDecider.evolve(this.#state, event);
    if (event.type === 'DevEuiRegistered') this.registered.push(event.data.devEui);
    else if (event.type === 'DevEuiUnconfirmed') this.unconfirmed.push(event.data.devEui);
    else if (event.type === 'DevEuiConflicted') this.conflictedCount += 1;
    else if (event.type === 'BatchFailed') this.reason = event.data.reason;
    else if (event.type === 'BatchResumed') this.reason = undefined;
  }
}
