import { status } from '@grpc/grpc-js';
import type { GrpcFailure } from './grpc-call.ts';

/** What a call ends with; clients go by the status and by the metadata `exception`. */
export const failures = {
  accessDenied: (): GrpcFailure => ({
    code: status.PERMISSION_DENIED,
    details: 'Access Denied',
    metadata: { exception: 'access-denied' },
  }),
  unauthenticated: (): GrpcFailure => ({ code: status.UNAUTHENTICATED, details: '' }),
  notLeader: (host: string, port: number): GrpcFailure => ({
    code: status.NOT_FOUND,
    details: 'Leader info available',
    metadata: {
      exception: 'not-leader',
      'leader-endpoint-host': host,
      'leader-endpoint-port': String(port),
    },
  }),
  unavailable: (): GrpcFailure => ({ code: status.UNAVAILABLE, details: 'Server Is Not Ready' }),
  deadlineExceeded: (): GrpcFailure => ({
    code: status.DEADLINE_EXCEEDED,
    details: 'Deadline Exceeded',
  }),
  streamDeleted: (stream: string): GrpcFailure => ({
    code: status.FAILED_PRECONDITION,
    details: `Event stream '${stream}' is deleted.`,
    metadata: { exception: 'stream-deleted', 'stream-name': stream },
  }),
  tooLarge: (limit: number): GrpcFailure => ({
    code: status.INVALID_ARGUMENT,
    details: `Maximum Append Size of ${limit} Exceeded.`,
    metadata: {
      exception: 'maximum-append-size-exceeded',
      'maximum-append-size': String(limit),
    },
  }),
  wrongExpectedVersion: (stream: string, expected: string, current?: number): GrpcFailure => ({
    code: status.FAILED_PRECONDITION,
    details: `Failed due to WrongExpectedVersion. Stream: ${stream}`,
    metadata: {
      exception: 'wrong-expected-version',
      'stream-name': stream,
      'expected-version': expected,
      ...(current !== undefined && { 'actual-version': String(current) }),
    },
  }),
  noRecordAt: (position: number): GrpcFailure => ({
    code: status.UNKNOWN,
    details: `Unexpected ReadAllResult: InvalidPosition ${position}`,
  }),
  consumerTooSlow: (): GrpcFailure => ({
    code: status.ABORTED,
    details:
      'Operation timed out: Consumer too slow to handle event while live. Client ' +
      'resubscription required.',
  }),
};
