import streams from '@eventstore/db-client/generated/streams_pb.js';
import type { ReadReq } from '@eventstore/db-client/generated/streams_pb.js';
import { failures } from './errors.ts';
import type { GrpcCall } from './grpc-call.ts';
import { nameOf } from './identifiers.ts';
import type { Log, LogRecord } from './log.ts';
import { eventResponse, streamNotFound } from './read-responses.ts';

/** Answers a reading that ends: of a stream or of the whole log, either way. */
export function read(call: GrpcCall, log: Log, options: ReadReq.Options): void {
  const count = Number(options.getCount());
  const backwards = options.getReadDirection() === streams.ReadReq.Options.ReadDirection.BACKWARDS;
  const all = options.getAll();
  if (all) {
    const from = startInLog(log, all, backwards);
    if (typeof from === 'number') void give(call, log.records, { from, count, backwards });
    else call.fail(failures.noRecordAt(from.noRecordAt));
    return;
  }

  const ofStream = options.getStream();
  const name = nameOf(ofStream?.getStreamIdentifier());
  if (log.isTombstoned(name)) {
    call.fail(failures.streamDeleted(name));
    return;
  }
  const records = log.recordsOf(name);
  const first = log.firstRevisionOf(name);
  if (records.length <= first) {
    call.sendFramed([streamNotFound(name)]);
    call.end();
    return;
  }
  const last = records.length - 1;
  let from = backwards ? last : first;
  if (ofStream?.hasEnd()) from = last;
  else if (ofStream?.hasRevision()) {
    const revision = Number(ofStream.getRevision());
    from = backwards ? Math.min(revision, last) : Math.max(revision, first);
  }
  void give(call, records, { from, count, backwards, first });
}

/** The index of the first record to give. Backwards, that is the one before the position. */
function startInLog(
  log: Log,
  all: ReadReq.Options.AllOptions,
  backwards: boolean,
): number | { readonly noRecordAt: number } {
  const { length } = log.records;
  if (all.hasStart()) return backwards ? -1 : 0;
  if (all.hasEnd()) return backwards ? length - 1 : length;
  const position = Number(all.getPosition()?.getCommitPosition());
  const index = log.indexAt(position);
  if (index < length && log.records[index]?.position !== position) return { noRecordAt: position };
  return backwards ? index - 1 : index;
}

interface Part {
  readonly from: number;
  readonly count: number;
  readonly backwards: boolean;
  readonly first?: number;
}

const BYTES_PER_WRITE = 64 * 1024;

/** What is there now, in pieces, each when the one before was taken up. */
async function give(
  call: GrpcCall,
  records: readonly LogRecord[],
  { from, count, backwards, first = 0 }: Part,
): Promise<void> {
  const step = backwards ? -1 : 1;
  const end = records.length;
  let left = count;
  let index = from;
  while (left > 0 && index >= first && index < end && !call.isOver) {
    const frames: Uint8Array[] = [];
    let bytes = 0;
    while (left > 0 && index >= first && index < end && bytes < BYTES_PER_WRITE) {
      const record = records[index];
      if (record === undefined) break;
      const frame = eventResponse(record);
      frames.push(frame);
      bytes += frame.length;
      index += step;
      left -= 1;
    }
    if (!call.sendFramed(frames)) await call.drained();
  }
  call.end();
}
