import { deveuiContract, type BatchEvent } from '../../events/deveui.ts';
import { BEGINNING, type EventStore, type Position } from '../../event-store/port.ts';
import type { StreamName } from '../../event-store/stream-name.ts';
import { batchDecider, isDone, type BatchState } from './decider.ts';
import type { Handled } from '../core/handler.ts';

/** What came of a command of a batch. */
export type HandledBatch = Handled<BatchState, BatchEvent>;

/** A batch as its events have told it so far, whichever process works on it. */
export class BatchTracker {
  readonly registered: string[] = [];
  readonly unconfirmed: string[] = [];
  conflictedCount = 0;
  /** Why it failed, when that is how it stands. */
  reason: string | undefined;
  requestedAt: Date | undefined;
  /** The position of its last event. */
  position: Position = BEGINNING;
  readonly #store: EventStore;
  readonly #stream: StreamName;
  readonly #candidates = new Map<string, number>();
  #state: BatchState = batchDecider.initialState;
  #next = 0n;

  constructor(store: EventStore, stream: StreamName) {
    this.#store = store;
    this.#stream = stream;
  }

  /** @throws LedgerError `store-unavailable`; what was read until then stands */
  async catchUp(): Promise<void> {
    for await (const recorded of this.#store.readStream(this.#stream, { from: this.#next })) {
      this.#apply(deveuiContract.read(recorded));
      this.#next = recorded.revision + 1n;
      this.position = recorded.position;
    }
  }

  /**
   * Catches up behind a command of the batch. What cannot be read just now is taken from the
   * command itself: it is recorded, and is to be answered.
   */
  async catchUpWith(handled: HandledBatch): Promise<void> {
    await this.catchUp().catch(() => {
      if (handled.outcome === 'recorded') this.#applyUnread(handled);
    });
    if (handled.position > this.position) this.position = handled.position;
  }

  /**
   * Applies those events of a command that were not read. If events before them were not read
   * either, it applies none, as the next reading gives all of them in order.
   */
  #applyUnread({
    events,
    revision,
  }: Extract<HandledBatch, { readonly outcome: 'recorded' }>): void {
    const first = revision + 1n - BigInt(events.length);
    if (first > this.#next) return;
    for (const event of events.slice(Number(this.#next - first))) this.#apply(event);
    this.#next = revision + 1n;
  }

  get status(): BatchState['status'] {
    return this.#state.status;
  }

  get size(): number {
    return this.#state.status === 'missing' ? 0 : this.#state.size;
  }

  /** How many DevEUIs were drawn. */
  get drawnCount(): number {
    return this.#candidates.size;
  }

  get isCompleted(): boolean {
    return this.#state.status === 'completed';
  }

  /** Nothing is sent any more, nor on its way. */
  get isDone(): boolean {
    return isDone(this.#state);
  }

  /** Asked for, and it is not known how that ends. */
  get open(): string[] {
    return this.#state.status === 'missing' ? [] : this.#state.open.map(({ devEui }) => devEui);
  }

  /** What the provider may have registered; only asking for it again would tell. */
  get notKnown(): string[] {
    if (this.#state.status === 'missing') return [];
    return this.#state.open
      .filter(({ phase, mayBeRegistered }) => phase === 'in-flight' || mayBeRegistered)
      .map(({ devEui }) => devEui);
  }

  /** Some of its DevEUIs, in the order in which they were drawn. */
  inDrawnOrder(devEuis: readonly string[]): string[] {
    const placeOf = (devEui: string): number => this.#candidates.get(devEui) ?? 0;
    return devEuis.toSorted((one, other) => placeOf(one) - placeOf(other));
  }

  #apply(event: BatchEvent): void {
    this.#state = batchDecider.evolve(this.#state, event);
    switch (event.type) {
      case 'BatchRequested':
        this.requestedAt = new Date(event.data.requestedAt);
        return;
      case 'DevEuiAttempted':
        if (event.data.candidate !== null) {
          this.#candidates.set(event.data.devEui, event.data.candidate);
        }
        return;
      case 'DevEuiRegistered':
        this.registered.push(event.data.devEui);
        return;
      case 'DevEuiUnconfirmed':
        this.unconfirmed.push(event.data.devEui);
        return;
      case 'DevEuiConflicted':
        this.conflictedCount += 1;
        return;
      case 'BatchFailed':
        this.reason = event.data.reason;
        return;
      case 'BatchResumed':
        this.reason = undefined;
        return;
      case 'BatchStopped':
      case 'BatchCompleted':
      case 'BatchHidden':
      case 'DevEuiAttemptFailed':
      // Nothing beyond what they do to the state.
    }
  }
}
