// @module-tag slow
import type { EventStoreDBClient } from '@eventstore/db-client';
import type {
  BatchAppendReq,
  BatchAppendResp,
} from '@eventstore/db-client/generated/streams_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import { EventEmitter } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { AppendCall } from '../../src/event-store/eventstoredb/append-call.ts';

const MIB = 1024 * 1024;

/** A call that answers each append, and takes the next one only when that was written. */
class CrowdedCall extends EventEmitter {
  written = 0;

  write(request: BatchAppendReq): boolean {
    this.written += 1;
    queueMicrotask(() => {
      this.emit('drain');
      this.emit('data', stored(request));
    });
    return false;
  }
}

function stored(request: BatchAppendReq): BatchAppendResp {
  const success = new streams.BatchAppendResp.Success();
  success.setCurrentRevision('0');
  const response = new streams.BatchAppendResp();
  response.setCorrelationId(request.getCorrelationId());
  response.setSuccess(success);
  return response;
}

/** After all that can be given back was given back. */
function heapUsed(): number {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

test('a call that is full again and again takes no more memory for it', async () => {
  const call = new CrowdedCall();
  const client = { callArguments: () => [], GRPCStreamCreator: () => async () => call };
  const appends = new AppendCall(client as unknown as EventStoreDBClient);
  const request = {
    stream: 'contract-p.device',
    events: [],
    expectedRevision: 'any' as const,
    timeoutMs: 60_000,
  };
  for (let count = 0; count < 1_000; count += 1) await appends.append(request);

  const before = heapUsed();
  for (let count = 0; count < 50_000; count += 1) await appends.append(request);
  expect(call.written).toBe(51_000);
  expect((heapUsed() - before) / MIB).toBeLessThan(3);
});
