import type {
  Appended,
  EventStore,
  Position,
  RecordedEvent,
  Write,
} from '../../event-store/port.ts';
import { revisionBeyond } from '../../event-store/log-went-back.ts';

/** One event for a stream that takes no second one. */
export type OnceWrite = Write & { readonly expectedRevision: 'no-stream' };

export type AppendedOnce =
  | { readonly outcome: 'appended'; readonly position: Position }
  /** The stream has its event already. */
  | { readonly outcome: 'taken'; readonly first: RecordedEvent };

/** Appends the event of a stream whose name is an identity, or gives the one that came first. */
export async function appendOnce(store: EventStore, write: OnceWrite): Promise<AppendedOnce> {
  const [answer] = await store.append([write]);
  if (answer === undefined) throw new Error('the log left a write unanswered');
  return answeredOnce(store, write, answer);
}

/**
 * What became of a write that the log has answered. Events that another application has put into the
 * stream count as nothing: where there are only such, the event is appended behind them.
 */
export async function answeredOnce(
  store: EventStore,
  write: OnceWrite,
  answer: Appended,
): Promise<AppendedOnce> {
  const { stream, events } = write;
  let expectedRevision: bigint | 'no-stream' = 'no-stream';
  let current = answer;
  while (current.outcome !== 'appended') {
    for await (const first of store.readStream(stream, { limit: 1 })) {
      return { outcome: 'taken', first };
    }
    expectedRevision = revisionBeyond(stream, expectedRevision, current.actualRevision);
    const [next] = await store.append([{ stream, events, expectedRevision }]);
    if (next === undefined) throw new Error('the log left a write unanswered');
    current = next;
  }
  return { outcome: 'appended', position: current.position };
}
