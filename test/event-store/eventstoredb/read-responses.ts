import shared from '@eventstore/db-client/generated/shared_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import { framed } from './grpc-call.ts';
import { streamIdentifier } from './identifiers.ts';
import type { LogRecord } from './log.ts';

const encoded = new WeakMap<LogRecord, Uint8Array>();

/** Encoded once, however many read it. */
export function eventResponse(record: LogRecord): Uint8Array {
  let frame = encoded.get(record);
  if (frame === undefined) {
    frame = framed(encodeEvent(record));
    encoded.set(record, frame);
  }
  return frame;
}

export function confirmation(subscriptionId: string): Uint8Array {
  const confirmed = new streams.ReadResp.SubscriptionConfirmation();
  confirmed.setSubscriptionId(subscriptionId);
  const response = new streams.ReadResp();
  response.setConfirmation(confirmed);
  return framed(response.serializeBinary());
}

export function caughtUp(): Uint8Array {
  const response = new streams.ReadResp();
  response.setCaughtUp(new streams.ReadResp.CaughtUp());
  return framed(response.serializeBinary());
}

export function checkpoint(position: number): Uint8Array {
  const reached = new streams.ReadResp.Checkpoint();
  reached.setCommitPosition(String(position));
  reached.setPreparePosition(String(position));
  const response = new streams.ReadResp();
  response.setCheckpoint(reached);
  return framed(response.serializeBinary());
}

export function streamNotFound(stream: string): Uint8Array {
  const notFound = new streams.ReadResp.StreamNotFound();
  notFound.setStreamIdentifier(streamIdentifier(stream));
  const response = new streams.ReadResp();
  response.setStreamNotFound(notFound);
  return framed(response.serializeBinary());
}

/** A tick is 100 nanoseconds. */
const TICKS_PER_MILLISECOND = 10_000n;

function encodeEvent(record: LogRecord): Uint8Array {
  const id = new shared.UUID();
  id.setString(record.id);
  const recorded = new streams.ReadResp.ReadEvent.RecordedEvent();
  recorded.setId(id);
  recorded.setStreamIdentifier(streamIdentifier(record.stream));
  recorded.setStreamRevision(String(record.revision));
  recorded.setCommitPosition(String(record.position));
  recorded.setPreparePosition(String(record.position));
  recorded.setData(record.data);
  recorded.setCustomMetadata(record.metadata);
  recorded
    .getMetadataMap()
    .set('type', record.type)
    .set('content-type', record.contentType)
    .set('created', String(BigInt(record.created) * TICKS_PER_MILLISECOND));
  const event = new streams.ReadResp.ReadEvent();
  event.setEvent(recorded);
  event.setCommitPosition(String(record.position));
  const response = new streams.ReadResp();
  response.setEvent(event);
  return response.serializeBinary();
}
