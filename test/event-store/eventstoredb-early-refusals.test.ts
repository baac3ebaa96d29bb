import { expect, test } from 'vitest';
import type { Appended, NewEvent } from '../../src/event-store/port.ts';
import { ids, readStream, TestProject } from './contract/test-project.ts';
import {
  asSoonAs,
  openAppender,
  openLog,
  startServer,
  type AppenderTimes,
  type AppenderUnderTest,
} from './eventstoredb-fixture.ts';
import type { EventStoreStandIn } from './eventstoredb/stand-in.ts';

interface Race {
  readonly project: TestProject;
  /** The events of both, and what becomes of them. */
  readonly sent: readonly NewEvent[][];
  readonly answers: Promise<PromiseSettledResult<Appended | undefined>[]>;
}

/** Two writers that append to one new stream, of which the server has refused one. */
async function race(server: EventStoreStandIn, times: AppenderTimes): Promise<Race> {
  const project = new TestProject();
  const stream = project.stream('device');
  const writers = ['first', 'second'].map((name) => openAppender(server, name, times));
  await Promise.all(writers.map(connected));
  const sent = writers.map(() => project.events(2));
  const received = server.counts.batchAppends;
  const answers = Promise.allSettled(
    writers.map(async ({ appender }, index) => {
      const write = { stream, events: sent[index] ?? [], expectedRevision: 'no-stream' } as const;
      return (await appender.append([write]))[0];
    }),
  );
  await asSoonAs(() => server.counts.batchAppends >= received + 2);
  return { project, sent, answers };
}

/** A refused append makes a connection, and nothing else. */
async function connected({ appender }: AppenderUnderTest): Promise<void> {
  const project = new TestProject();
  const write = { stream: project.stream('none'), events: project.events(1) };
  await appender.append([{ ...write, expectedRevision: 7n }]);
}

test('an append that is refused for an event which nobody can read ends as unavailable', async () => {
  const server = await startServer({ showsAfterMs: 600_000 });
  const times = { attemptTimeoutMs: 100, retryForMs: 200, readableWithinMs: 50 };
  const { answers } = await race(server, times);

  for (const answer of await answers) {
    expect(answer).toMatchObject({ status: 'rejected', reason: { code: 'store-unavailable' } });
  }
});

test('an append that is refused for an event which is lost with the server is answered the truth', async () => {
  const server = await startServer({ showsAfterMs: 500, dropTimeoutMs: 50 });
  const times = { attemptTimeoutMs: 2_000, retryForMs: 20_000 };
  const { project, sent, answers } = await race(server, times);
  await server.kill();
  await server.restart();

  const settled = (await answers).map((answer) =>
    answer.status === 'fulfilled' ? answer.value?.outcome : answer.reason,
  );

  expect(new Set(settled)).toEqual(new Set(['appended', 'conflict']));
  const reader = await openLog(server, { connectionName: 'reader' });
  const recorded = await readStream(reader, project.stream('device'));
  expect(ids(recorded)).toEqual(ids(sent[settled.indexOf('appended')] ?? []));
});

test('of processes that open a new log at once, all find the name that the first one gave it', async () => {
  const server = await startServer({ showsAfterMs: 50 });

  const logs = await Promise.all(
    ['a', 'b', 'c'].map((connectionName) => openLog(server, { connectionName })),
  );

  expect(new Set(logs.map(({ logId }) => logId)).size).toBe(1);
});
