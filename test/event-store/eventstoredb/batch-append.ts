import { StreamsService } from '@eventstore/db-client/generated/streams_grpc_pb.js';
import shared from '@eventstore/db-client/generated/shared_pb.js';
import statusMessages from '@eventstore/db-client/generated/status_pb.js';
import type { Status } from '@eventstore/db-client/generated/status_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import type { BatchAppendResp } from '@eventstore/db-client/generated/streams_pb.js';
import { status } from '@grpc/grpc-js';
import { expectedOf, recordOf, type AppendWork, type Stored } from './append-work.ts';
import type { ExpectedRevision } from './appending.ts';
import { failures } from './errors.ts';
import type { AnswerOrFault, AppendFault } from './faults.ts';
import type { GrpcCall } from './grpc-call.ts';
import { idOf, nameOf, streamIdentifier } from './identifiers.ts';
import type { NewRecord } from './log.ts';

interface BatchRequest {
  /** The id by which the client knows the answer. */
  readonly id: string;
  readonly stream: string;
  readonly expected: ExpectedRevision;
  readonly records: NewRecord[];
}

/** The path without credentials: one call for all appends of a client, answered one by one. */
export function batchAppend(call: GrpcCall, work: AppendWork): void {
  const pending = new Map<string, BatchRequest>();

  call.onMessage((bytes) => {
    const message = StreamsService.batchAppend.requestDeserialize(Buffer.from(bytes));
    const id = idOf(message.getCorrelationId());
    const options = message.getOptions();
    if (options) {
      const stream = nameOf(options.getStreamIdentifier());
      const request = { id, stream, expected: expectedOf(options), records: [] };
      if (!work.isAllowed(call)) {
        call.send(refusal(request, errors.accessDenied()));
        return;
      }
      const deadline = options.getDeadline();
      if (deadline && deadline.toDate().getTime() <= Date.now()) {
        call.send(refusal(request, errors.timeout()));
        return;
      }
      pending.set(id, request);
    }
    const request = pending.get(id);
    if (request === undefined) return;
    for (const proposed of message.getProposedMessagesList()) {
      request.records.push(recordOf(proposed));
    }
    if (!message.getIsFinal()) return;
    pending.delete(id);
    work.append(request, (answer) => answerTo(call, work, request, answer));
  });
  call.onAllReceived(() => call.end());
}

function answerTo(
  call: GrpcCall,
  work: AppendWork,
  request: BatchRequest,
  answer: AnswerOrFault,
): void {
  switch (answer.outcome) {
    case 'stored':
      call.send(success(request, answer));
      return;
    case 'wrong-expected-version':
      call.send(refusal(request, errors.wrongExpectedVersion(request.expected, answer.current)));
      return;
    case 'stream-deleted':
      call.send(refusal(request, errors.streamDeleted(request.stream)));
      return;
    case 'too-large':
      call.send(refusal(request, errors.tooLarge(answer.limit)));
      return;
    case 'fault':
      fail(call, work, request, answer.fault);
  }
}

function fail(call: GrpcCall, work: AppendWork, request: BatchRequest, fault: AppendFault): void {
  switch (fault.kind) {
    case 'lose-answer':
      work.loseConnection(call);
      return;
    case 'not-leader':
      call.fail(failures.notLeader(fault.host, fault.port));
      return;
    case 'deadline-exceeded':
      call.send(refusal(request, errors.timeout()));
      return;
    case 'not-ready':
      call.send(refusal(request, errors.notReady()));
      return;
    case 'unavailable':
      call.fail(failures.unavailable());
  }
}

function success(request: BatchRequest, { revision, position }: Stored): Uint8Array {
  const stored = new streams.BatchAppendResp.Success();
  if (revision === undefined) stored.setNoStream(new shared.Empty());
  else stored.setCurrentRevision(String(revision));
  if (position === undefined) {
    stored.setNoPosition(new shared.Empty());
  } else {
    const at = new shared.AllStreamPosition();
    at.setCommitPosition(String(position));
    at.setPreparePosition(String(position));
    stored.setPosition(at);
  }
  const response = responseTo(request);
  response.setSuccess(stored);
  return response.serializeBinary();
}

function refusal(request: BatchRequest, error: Status): Uint8Array {
  const response = responseTo(request);
  response.setError(error);
  return response.serializeBinary();
}

function responseTo({ id, stream }: BatchRequest): BatchAppendResp {
  const correlationId = new shared.UUID();
  correlationId.setString(id);
  const response = new streams.BatchAppendResp();
  response.setCorrelationId(correlationId);
  response.setStreamIdentifier(streamIdentifier(stream));
  return response;
}

/** What an append is answered with instead of success; clients go by the type of the details. */
const errors = {
  accessDenied: () =>
    statusWith(status.PERMISSION_DENIED, 'AccessDenied', new shared.AccessDenied()),
  timeout: () => statusWith(status.DEADLINE_EXCEEDED, 'Timeout', new shared.Timeout()),
  streamDeleted(stream: string) {
    const deleted = new shared.StreamDeleted();
    deleted.setStreamIdentifier(streamIdentifier(stream));
    return statusWith(status.FAILED_PRECONDITION, 'StreamDeleted', deleted);
  },
  tooLarge(limit: number) {
    const exceeded = new shared.MaximumAppendSizeExceeded();
    exceeded.setMaxappendsize(limit);
    return statusWith(status.INVALID_ARGUMENT, 'MaximumAppendSizeExceeded', exceeded);
  },
  wrongExpectedVersion(expected: ExpectedRevision, current: number | undefined) {
    const wrong = new shared.WrongExpectedVersion();
    if (current === undefined) wrong.setCurrentNoStream(new shared.Empty());
    else wrong.setCurrentStreamRevision(String(current));
    if (expected === 'any') wrong.setExpectedAny(new shared.Empty());
    else if (expected === 'no-stream') wrong.setExpectedNoStream(new shared.Empty());
    else if (expected === 'stream-exists') wrong.setExpectedStreamExists(new shared.Empty());
    else wrong.setExpectedStreamPosition(String(expected));
    return statusWith(status.FAILED_PRECONDITION, 'WrongExpectedVersion', wrong);
  },
  /** The server says this in words only, which no client recognises. */
  notReady() {
    const error = emptyStatus();
    error.setMessage(failures.unavailable().details);
    error.getDetails()?.pack(new Uint8Array(), 'google.protobuf.Empty');
    return error;
  },
};

function statusWith(
  code: number,
  type: string,
  details: { serializeBinary(): Uint8Array },
): Status {
  const error = emptyStatus();
  error.setCode(code);
  error.setMessage(type);
  error.getDetails()?.pack(details.serializeBinary(), `event_store.client.${type}`);
  return error;
}

/** Read from bytes, because the class of its details is in a package that is not ours to import. */
function emptyStatus(): Status {
  return statusMessages.Status.deserializeBinary(Uint8Array.of(0x1a, 0));
}
