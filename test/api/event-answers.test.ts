import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { AdmittedRequest } from '../../src/api/admitted-request.ts';
import { EventAnswers, type EventAnswersParts } from '../../src/api/events/event-answers.ts';
import type { Position } from '../../src/event-store/port.ts';
import { OpenStreams } from '../../src/followers/open-streams.ts';
import { LedgerError } from '../../src/shared/errors.ts';
import { follow } from '../followers/sse-client.ts';

const unavailable = new LedgerError('store-unavailable', 'The log cannot be read.');

/** One change, and then the log is unavailable. */
async function* oneChange(): AsyncGenerator<Position> {
  await Promise.resolve();
  yield 2n as Position;
  throw unavailable;
}

test('a log that is lost while an answer is read again ends the stream alone', async () => {
  const rejected = vi.fn<(reason: unknown) => void>();
  process.on('unhandledRejection', rejected);
  onTestFinished(() => void process.off('unhandledRejection', rejected));
  const streams = new OpenStreams({ draining: new AbortController().signal });
  const caller = { keyId: 'k', projectId: 'p', kind: 'member', role: 'owner' };
  // The parts of which an answer that is followed makes use.
  const parts = {
    streams,
    followers: { changes: oneChange },
    authentication: { isStillValid: () => Promise.resolve(true) },
    positions: { format: String },
    responder: { beginEvents: () => undefined, log: () => undefined },
  } as unknown as EventAnswersParts;
  const answer = { status: 200, body: { n: 1 }, position: 1n as Position };
  const server = createServer((request, response) => {
    const route = { changedBy: () => ({}) };
    // No other member of a request is looked at.
    const admitted = { route, request, response, caller, sentQuery: {} };
    void new EventAnswers(parts).send(admitted as unknown as AdmittedRequest, answer, async () => {
      // The log fails meanwhile: an unhandled rejection is reported before the next turn.
      await nextTurn();
      return { ...answer, body: { n: 2 } };
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const connection = await follow({ url, path: '' });
  await vi.waitFor(() => expect(connection.ended).toBe('properly'), { timeout: 20_000 });
  expect(connection.messages.map(({ data }) => data)).toEqual([{ n: 1 }, { n: 2 }]);
  expect(rejected).not.toHaveBeenCalled();
});
