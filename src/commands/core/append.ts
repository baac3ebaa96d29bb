import type { Appended, EventStore, RecordedEvent, Write } from '../../event-store/port.ts';
import { revisionBeyond } from '../../event-store/log-went-back.ts';

/** One event for a stream that takes no second one. */
export type OnceWrite = Write & { readonly expectedRevision: 'no-stream' };

type Stored = Extract<Appended, { outcome: 'appended' }>;

/** The stream had its event before: this one. */
interface Taken {
  readonly outcome: 'taken';
  readonly first: RecordedEvent;
}

export async function appendOne(store: EventStore, write: Write): Promise<Appended> {
  const [answer] = await store.append([write]);
  if (answer === undefined) throw new Error('the log left a write unanswered');
  return answer;
}

/** Appends the event of a stream whose name is an identity, or gives the one that came first. */
export async function appendOnce(store: EventStore, write: OnceWrite): Promise<Stored | Taken> {
  return answeredOnce(store, write, await appendOne(store, write));
}

/**
 * What became of a write that the log has answered. Events that another application has put into
 * the stream count as nothing: where there are only such, the event is appended behind them.
 */
export async function answeredOnce(
  store: EventStore,
  { stream, events }: OnceWrite,
  answer: Appended,
): Promise<Stored | Taken> {
  let expectedRevision: bigint | 'no-stream' = 'no-stream';
  let current = answer;
  while (current.outcome !== 'appended') {
    for await (const first of store.readStream(stream, { limit: 1 })) {
      return { outcome: 'taken', first };
    }
    expectedRevision = revisionBeyond(stream, expectedRevision, current.actualRevision);
    current = await appendOne(store, { stream, events, expectedRevision });
  }
  return current;
}
