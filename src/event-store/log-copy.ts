import { createHash } from 'node:crypto';
import { BEGINNING, CopyRefusedError } from './port.ts';
import type { CopyTarget, EventStore, Position } from './port.ts';

export interface LogCopyOptions {
  readonly from: EventStore;
  readonly to: EventStore & { readonly copyTarget: CopyTarget };
  /** Ends the copy after the events in work; a later copy resumes there. */
  readonly signal: AbortSignal;
  readonly onProgress: (copied: { readonly events: number; readonly position: Position }) => void;
}

/** What two logs are compared by. */
export interface LogDigest {
  readonly events: number;
  /** SHA-256, in hex, over all that an event is, but for its position. */
  readonly sha256: string;
}

/**
 * Copies what the log holds now, from where an earlier copying has ended. Gives the position that
 * it has come to.
 * @throws CopyRefusedError, and LedgerError `store-unavailable`
 */
export async function copyLog({ from, to, signal, onProgress }: LogCopyOptions): Promise<Position> {
  let position = await placeToGoOn(from, to);
  for await (const batch of from.readAll({ after: position })) {
    if (signal.aborted) return position;
    await to.copyTarget.take(from.logId, batch.events);
    position = batch.position;
    onProgress({ events: batch.events.length, position });
  }
  return position;
}

async function placeToGoOn(from: EventStore, to: LogCopyOptions['to']): Promise<Position> {
  if (from.logId === to.logId) {
    throw new CopyRefusedError('Both are the same log: there is nothing to copy.');
  }
  const taken = await to.copyTarget.taken();
  switch (taken.kind) {
    case 'nothing':
      return BEGINNING;
    case 'own-events':
      throw new CopyRefusedError(
        'The log to copy to holds events of its own: copy into one that is empty.',
      );
    case 'copied':
      if (taken.from === from.logId) return taken.position;
      throw new CopyRefusedError(
        `The log to copy to holds the copy of another log, ${taken.from}: copy into one that ` +
          'is empty.',
      );
  }
}

/** The digest of all events up to a position, by default the head. */
export async function digestOf(
  log: EventStore,
  options: {
    readonly until?: Position;
    readonly signal: AbortSignal;
    readonly onProgress: (position: Position) => void;
  },
): Promise<LogDigest> {
  const { until, signal, onProgress } = options;
  const hash = createHash('sha256');
  let events = 0;
  const range = { after: BEGINNING, ...(until !== undefined && { until }) };
  for await (const batch of log.readAll(range)) {
    if (signal.aborted) break;
    for (const { id, type, stream, revision, data, metadata, recordedAt } of batch.events) {
      const place = [stream, revision.toString(), recordedAt.toISOString()];
      hash.update(`${JSON.stringify([id, type, ...place, data, metadata])}\n`);
    }
    events += batch.events.length;
    onProgress(batch.position);
  }
  return { events, sha256: hash.digest('hex') };
}
