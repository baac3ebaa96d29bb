import type { AppendReq, BatchAppendReq } from '@eventstore/db-client/generated/streams_pb.js';
import type { AppendAnswer, AppendRequest, ExpectedRevision } from './appending.ts';
import type { AnswerOrFault } from './faults.ts';
import type { GrpcCall } from './grpc-call.ts';
import { idOf } from './identifiers.ts';
import type { NewRecord } from './log.ts';

/** What both paths of appending ask of the server. */
export interface AppendWork {
  isAllowed(call: GrpcCall): boolean;
  /** Answers later while the server is stalled. */
  append(request: AppendRequest, answer: (answer: AnswerOrFault) => void): void;
  loseConnection(call: GrpcCall): void;
}

export type Stored = Extract<AppendAnswer, { outcome: 'stored' }>;

export function expectedOf(options: AppendReq.Options | BatchAppendReq.Options): ExpectedRevision {
  if (options.hasNoStream()) return 'no-stream';
  if (options.hasStreamExists()) return 'stream-exists';
  if (options.hasAny()) return 'any';
  return BigInt('getRevision' in options ? options.getRevision() : options.getStreamPosition());
}

export function recordOf(
  message: AppendReq.ProposedMessage | BatchAppendReq.ProposedMessage,
): NewRecord {
  const metadata = message.getMetadataMap();
  return {
    id: idOf(message.getId()),
    type: metadata.get('type') ?? '',
    contentType: metadata.get('content-type') ?? 'application/octet-stream',
    data: message.getData_asU8(),
    metadata: message.getCustomMetadata_asU8(),
  };
}
