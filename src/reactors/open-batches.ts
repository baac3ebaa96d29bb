import { deveuiContract, type BatchEvent } from '../events/deveui.ts';
import {
  BEGINNING,
  type EventStore,
  type Position,
  type RecordedEvent,
  type SnapshotStore,
} from '../event-store/port.ts';
import { INSTALLATION_PROJECT, streamName, type StreamName } from '../event-store/stream-name.ts';
import type { JsonObject } from '../shared/json.ts';

/**
 * A batch that is to be worked on. `closing`: nothing more is to be sent, but it may have ended
 * while requests were in flight, whose outcome whoever leads has to see into the log.
 */
export interface OpenBatch {
  readonly status: 'processing' | 'closing';
  readonly stream: StreamName;
  readonly projectId: string;
  readonly provider: string;
  /** The correlation id of the request that it came with. */
  readonly correlationId: string;
}

const TYPES: readonly BatchEvent['type'][] = [
  'BatchRequested',
  'BatchResumed',
  'BatchStopped',
  'BatchCompleted',
  'BatchFailed',
];
const FOLD = 'open-batches:2';
/** Under which name it is kept. No stream of the log: it is folded from all of those of batches. */
const KEPT_AS = streamName('batch', INSTALLATION_PROJECT, 'open');
const KEEP_INTERVAL_MS = 300_000;

/**
 * Which batches are open, as the log says: folded from it, and kept as snapshots are (derived data,
 * safe to delete), so that a start reads what came since and not the whole log.
 */
export class OpenBatches {
  readonly #store: EventStore;
  readonly #snapshots: SnapshotStore;
  readonly #open = new Map<StreamName, OpenBatch>();
  #position: Position = BEGINNING;
  #keptAtMs = performance.now();

  constructor(store: EventStore, snapshots: SnapshotStore) {
    this.#store = store;
    this.#snapshots = snapshots;
  }

  get all(): OpenBatch[] {
    return [...this.#open.values()];
  }

  /**
   * Follows the log until `signal`. `onReady` when it is known what is open; then `onChanged` for
   * each batch that opens or is to be closed.
   */
  async follow(
    signal: AbortSignal,
    {
      onReady,
      onChanged,
    }: {
      readonly onReady: () => Promise<void>;
      readonly onChanged: (batch: OpenBatch) => void;
    },
  ): Promise<void> {
    await this.#load();
    const head = await this.#store.head();
    let isReady = this.#position >= head;
    if (isReady) await onReady();
    const options = { after: this.#position, types: TYPES, signal };
    for await (const { events, position } of this.#store.subscribe(options)) {
      for (const recorded of events) {
        this.#apply(recorded);
        const batch = this.#open.get(recorded.stream);
        if (isReady && batch !== undefined) onChanged(batch);
      }
      this.#position = position;
      if (!isReady && position >= head) {
        isReady = true;
        await onReady();
      }
      // Derived data: without it, the next start reads more.
      if (performance.now() - this.#keptAtMs > KEEP_INTERVAL_MS) {
        await this.keep().catch(() => undefined);
      }
    }
  }

  /** Nothing of it is in flight any more. */
  drained(stream: StreamName): void {
    if (this.#open.get(stream)?.status === 'closing') this.#open.delete(stream);
  }

  async keep(): Promise<void> {
    this.#keptAtMs = performance.now();
    const state = { open: this.all.map((open) => ({ ...open })) as JsonObject[] };
    const position = this.#position;
    await this.#snapshots.save(KEPT_AS, FOLD, { revision: position, position, state });
  }

  async #load(): Promise<void> {
    this.#open.clear();
    this.#position = BEGINNING;
    const kept = await this.#snapshots.load(KEPT_AS, FOLD);
    if (kept === undefined) return;
    this.#position = kept.position;
    const { open } = kept.state as unknown as { readonly open: readonly OpenBatch[] };
    for (const batch of open) this.#open.set(batch.stream, batch);
  }

  #apply(recorded: RecordedEvent): void {
    const { stream, metadata } = recorded;
    const event = deveuiContract.read(recorded);
    if (event.type === 'BatchRequested' || event.type === 'BatchResumed') {
      const { provider } = event.data;
      const { projectId, correlationId } = metadata;
      this.#open.set(stream, {
        status: 'processing',
        stream,
        projectId,
        provider,
        correlationId,
      });
      return;
    }
    const open = this.#open.get(stream);
    if (event.type === 'BatchCompleted') this.#open.delete(stream);
    else if (open !== undefined) this.#open.set(stream, { ...open, status: 'closing' });
  }
}
