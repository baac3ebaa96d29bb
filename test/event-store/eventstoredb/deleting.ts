import { StreamsService } from '@eventstore/db-client/generated/streams_grpc_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import type { DeleteReq, TombstoneReq } from '@eventstore/db-client/generated/streams_pb.js';
import { failures } from './errors.ts';
import type { GrpcCall } from './grpc-call.ts';
import { nameOf } from './identifiers.ts';
import type { Log, LogRecord } from './log.ts';

type Requests = (handle: (call: GrpcCall, message: Uint8Array) => void) => (call: GrpcCall) => void;

/** Soft deletion and tombstones, as the client asks for them. */
export function removeStream(log: Log, requests: Requests): [string, (call: GrpcCall) => void][] {
  return [
    [
      StreamsService.delete.path,
      requests((call, message) => {
        const request = StreamsService.delete.requestDeserialize(Buffer.from(message));
        const stream = removable(call, log, request.getOptions());
        if (stream === undefined) return;
        const position = new streams.DeleteResp.Position();
        at(position, log.softDelete(stream));
        const response = new streams.DeleteResp();
        response.setPosition(position);
        call.send(response.serializeBinary());
        call.end();
      }),
    ],
    [
      StreamsService.tombstone.path,
      requests((call, message) => {
        const request = StreamsService.tombstone.requestDeserialize(Buffer.from(message));
        const stream = removable(call, log, request.getOptions());
        if (stream === undefined) return;
        const position = new streams.TombstoneResp.Position();
        at(position, log.tombstone(stream));
        const response = new streams.TombstoneResp();
        response.setPosition(position);
        call.send(response.serializeBinary());
        call.end();
      }),
    ],
  ];
}

/** The name of the stream, if it may be removed; otherwise the call has failed. */
function removable(
  call: GrpcCall,
  log: Log,
  options: DeleteReq.Options | TombstoneReq.Options | undefined,
): string | undefined {
  const stream = nameOf(options?.getStreamIdentifier());
  if (log.isTombstoned(stream)) {
    call.fail(failures.streamDeleted(stream));
    return undefined;
  }
  const current = log.recordsOf(stream).length - 1;
  const expected = options?.hasRevision() ? options.getRevision() : undefined;
  if (expected !== undefined && Number(expected) !== current) {
    const actual = current < 0 ? undefined : current;
    call.fail(failures.wrongExpectedVersion(stream, expected, actual));
    return undefined;
  }
  return stream;
}

function at(
  position: InstanceType<
    typeof streams.DeleteResp.Position | typeof streams.TombstoneResp.Position
  >,
  record: LogRecord | undefined,
): void {
  position.setCommitPosition(String(record?.position ?? 0));
  position.setPreparePosition(String(record?.position ?? 0));
}
