import { StreamsService } from '@eventstore/db-client/generated/streams_grpc_pb.js';
import shared from '@eventstore/db-client/generated/shared_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import type { AppendReq, AppendResp } from '@eventstore/db-client/generated/streams_pb.js';
import { expectedOf, recordOf, type AppendWork, type Stored } from './append-work.ts';
import type { AppendRequest, ExpectedRevision } from './appending.ts';
import { failures } from './errors.ts';
import type { AnswerOrFault, AppendFault } from './faults.ts';
import type { GrpcCall } from './grpc-call.ts';
import { nameOf } from './identifiers.ts';
import type { NewRecord } from './log.ts';

/** The path with credentials in the call: one call an append. */
export function singleAppend(call: GrpcCall, work: AppendWork): void {
  let options: AppendReq.Options | undefined;
  const records: NewRecord[] = [];

  call.onMessage((bytes) => {
    const request = StreamsService.append.requestDeserialize(Buffer.from(bytes));
    options ??= request.getOptions();
    const message = request.getProposedMessage();
    if (message) records.push(recordOf(message));
  });
  call.onAllReceived(() => {
    if (options === undefined) return;
    if (!work.isAllowed(call)) {
      call.fail(failures.accessDenied());
      return;
    }
    const request = {
      stream: nameOf(options.getStreamIdentifier()),
      expected: expectedOf(options),
      records,
    };
    work.append(request, (answer) => answerTo(call, work, request, answer));
  });
}

function answerTo(
  call: GrpcCall,
  work: AppendWork,
  request: AppendRequest,
  answer: AnswerOrFault,
): void {
  switch (answer.outcome) {
    case 'stored':
      call.send(success(answer).serializeBinary());
      call.end();
      return;
    case 'wrong-expected-version':
      call.send(conflict(request.expected, answer.current).serializeBinary());
      call.end();
      return;
    case 'stream-deleted':
      call.fail(failures.streamDeleted(request.stream));
      return;
    case 'too-large':
      call.fail(failures.tooLarge(answer.limit));
      return;
    case 'fault':
      fail(call, work, answer.fault);
  }
}

function fail(call: GrpcCall, work: AppendWork, fault: AppendFault): void {
  switch (fault.kind) {
    case 'lose-answer':
      work.loseConnection(call);
      return;
    case 'not-leader':
      call.fail(failures.notLeader(fault.host, fault.port));
      return;
    case 'deadline-exceeded':
      call.fail(failures.deadlineExceeded());
      return;
    case 'not-ready':
    case 'unavailable':
      call.fail(failures.unavailable());
  }
}

function success({ revision, position }: Stored): AppendResp {
  const stored = new streams.AppendResp.Success();
  if (revision === undefined) stored.setNoStream(new shared.Empty());
  else stored.setCurrentRevision(String(revision));
  if (position === undefined) {
    stored.setNoPosition(new shared.Empty());
  } else {
    const at = new streams.AppendResp.Position();
    at.setCommitPosition(String(position));
    at.setPreparePosition(String(position));
    stored.setPosition(at);
  }
  const response = new streams.AppendResp();
  response.setSuccess(stored);
  return response;
}

function conflict(expected: ExpectedRevision, current: number | undefined): AppendResp {
  const wrong = new streams.AppendResp.WrongExpectedVersion();
  if (current === undefined) wrong.setCurrentNoStream(new shared.Empty());
  else wrong.setCurrentRevision(String(current));
  if (expected === 'any') wrong.setExpectedAny(new shared.Empty());
  else if (expected === 'no-stream') wrong.setExpectedNoStream(new shared.Empty());
  else if (expected === 'stream-exists') wrong.setExpectedStreamExists(new shared.Empty());
  else wrong.setExpectedRevision(String(expected));
  const response = new streams.AppendResp();
  response.setWrongExpectedVersion(wrong);
  return response;
}
