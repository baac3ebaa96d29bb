import { describe, expect, test, vi } from 'vitest';
import type { Appender } from '../../src/event-store/eventstoredb/appender.ts';
import type {
  Appended,
  ExpectedRevision,
  NewEvent,
  OpenEventStore,
} from '../../src/event-store/port.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import {
  asSoonAs,
  eventually,
  openAppender,
  openLog,
  startServer,
  type AppenderUnderTest,
} from './eventstoredb-fixture.ts';
import { ids, readStream, stored, TestProject } from './contract/test-project.ts';
import type { EventStoreStandIn } from './eventstoredb/stand-in.ts';

const KINDS = ['no-stream', 0n, 'any', 'stream-exists'] as const;

interface Strike {
  readonly server: EventStoreStandIn;
  readonly lines: AppenderUnderTest['lines'];
  /** Appends that the server had received before. */
  readonly received: number;
  readonly records: number;
  /** Called when the fault has struck, and before the append is repeated. */
  readonly inBetween: () => void;
}

interface Fault {
  readonly name: string;
  /** What has become of the first attempt when the fault strikes; `late`: it is done afterwards. */
  readonly firstAttempt: 'stored' | 'lost' | 'late';
  /** Before the append is sent. */
  readonly prepare: (server: EventStoreStandIn) => void;
  /** While it is on its way. */
  readonly strike: (strike: Strike) => Promise<void>;
}

const whenReceived = async ({ server, received, inBetween }: Strike): Promise<void> => {
  await asSoonAs(() => server.counts.batchAppends > received);
  inBetween();
};

const FAULTS: readonly Fault[] = [
  {
    name: 'whose answer was lost',
    firstAttempt: 'stored',
    prepare: (server) => server.loseAnswers(1),
    strike: whenReceived,
  },
  {
    name: 'whose answers were lost three times',
    firstAttempt: 'stored',
    prepare: (server) => server.loseAnswers(3),
    strike: whenReceived,
  },
  {
    name: 'that was stored after its deadline',
    firstAttempt: 'stored',
    prepare: (server) => server.answerDeadlineExceeded(1, { stored: true }),
    strike: whenReceived,
  },
  {
    name: 'that was not stored by its deadline',
    firstAttempt: 'lost',
    prepare: (server) => server.answerDeadlineExceeded(2, { stored: false }),
    strike: whenReceived,
  },
  {
    name: 'that met an unavailable server',
    firstAttempt: 'lost',
    prepare: (server) => server.answerUnavailable(2),
    strike: whenReceived,
  },
  {
    name: 'that met a node that is not the leader',
    firstAttempt: 'lost',
    prepare: (server) => server.answerNotLeader(1, { host: '127.0.0.1', port: server.port }),
    strike: whenReceived,
  },
  {
    name: 'that met a node that is not ready',
    firstAttempt: 'lost',
    prepare: (server) => server.answerNotReady(2),
    strike: whenReceived,
  },
  {
    name: 'whose connection was cut while it waited at the server, which did it later',
    firstAttempt: 'late',
    prepare: (server) => server.stall(),
    async strike(strike) {
      await whenReceived(strike);
      strike.server.cutConnections();
      strike.server.resume();
    },
  },
  {
    name: 'that waited at the server longer than an attempt may take',
    firstAttempt: 'late',
    prepare: (server) => server.stall(),
    async strike(strike) {
      await whenReceived(strike);
      await eventually(() => strike.lines.length > 0);
      strike.server.resume();
    },
  },
  {
    name: 'whose answer waited longer than an attempt may take',
    firstAttempt: 'stored',
    prepare: (server) => server.stall('answers'),
    async strike(strike) {
      await asSoonAs(() => strike.server.recordCount > strike.records);
      strike.inBetween();
      await eventually(() => strike.lines.length > 0);
      strike.server.resume();
    },
  },
  {
    name: 'whose server was killed before it was done, and restarted',
    firstAttempt: 'lost',
    prepare: (server) => server.stall(),
    async strike(strike) {
      await whenReceived(strike);
      await strike.server.kill();
      await strike.server.restart();
    },
  },
  {
    name: 'whose server was killed after it was done, and restarted',
    firstAttempt: 'stored',
    prepare: (server) => server.loseAnswers(1),
    async strike(strike) {
      await whenReceived(strike);
      await strike.server.kill();
      await strike.server.restart();
    },
  },
];

/** A stream that has what the expected revision asks for. */
interface Scene {
  readonly server: EventStoreStandIn;
  readonly appender: Appender;
  readonly lines: AppenderUnderTest['lines'];
  readonly reader: OpenEventStore;
  readonly stream: StreamName;
  readonly before: NewEvent[];
  readonly events: NewEvent[];
}

async function setScene(expectedRevision: ExpectedRevision): Promise<Scene> {
  const server = await startServer();
  const reader = await openLog(server, { connectionName: 'reader' });
  const { appender, lines } = openAppender(server, 'writer', {
    attemptTimeoutMs: 300,
    retryForMs: 20_000,
  });
  const project = new TestProject();
  const stream = project.stream('device');
  // In another stream, so that there is a connection, and a call to break.
  await write(appender, project.stream('other'), project.events(1), 'any');
  const before = expectedRevision === 'no-stream' ? [] : project.events(1);
  if (before.length > 0) await write(appender, stream, before, 'no-stream');
  return { server, appender, lines, reader, stream, before, events: project.events(2) };
}

async function write(
  appender: Appender,
  stream: StreamName,
  events: readonly NewEvent[],
  expectedRevision: ExpectedRevision,
): Promise<Appended> {
  const [answer] = await appender.append([{ stream, events, expectedRevision }]);
  if (answer === undefined) throw new Error('the write was not answered');
  return answer;
}

async function appendUnder(
  fault: Fault,
  { server, appender, lines, stream, events }: Scene,
  expectedRevision: ExpectedRevision,
  inBetween: () => void = () => undefined,
): Promise<Appended> {
  const received = server.counts.batchAppends;
  const records = server.recordCount;
  fault.prepare(server);
  const [answer] = await Promise.all([
    write(appender, stream, events, expectedRevision),
    fault.strike({ server, lines, received, records, inBetween }),
  ]);
  return answer;
}

for (const expectedRevision of KINDS) {
  describe(`with ${expectedRevision}`, () => {
    for (const fault of FAULTS) {
      test(`an append ${fault.name} is stored once`, async () => {
        const scene = await setScene(expectedRevision);
        const { reader, stream, before, events, lines } = scene;

        const answer = await appendUnder(fault, scene, expectedRevision);

        const recorded = await readStream(reader, stream);
        expect(ids(recorded)).toEqual(ids([...before, ...events]));
        const { revision, position } = recorded.at(-1) ?? {};
        expect(answer).toEqual({ outcome: 'appended', revision, position });
        expect(lines).not.toEqual([]);
      });

      const isExact = expectedRevision === 'no-stream' || typeof expectedRevision === 'bigint';
      const becomes =
        isExact && fault.firstAttempt !== 'stored'
          ? 'is a conflict, and not stored,'
          : 'is stored once';
      test(`an append ${fault.name} ${becomes} where another writer got in between`, async () => {
        const scene = await setScene(expectedRevision);
        const { server, reader, stream, before, events } = scene;
        const other = (): void => server.appendForeign(stream, 'OtherWriterCame', 1);

        const answer = await appendUnder(fault, scene, expectedRevision, other);

        const recorded = await readStream(reader, stream);
        if (becomes !== 'is stored once') {
          expect(ids(recorded)).toEqual(ids(before));
          expect(answer).toEqual({
            outcome: 'conflict',
            actualRevision: BigInt(before.length),
          });
          return;
        }
        expect(ids(recorded)).toEqual(ids([...before, ...events]));
        const ownFirst = fault.firstAttempt === 'stored';
        expect(stored(answer).revision).toBe(BigInt(before.length + (ownFirst ? 1 : 2)));
        expect(stored(answer).position).toBe(recorded.at(-1)?.position);
      });
    }

    test('an append that ended as unavailable is stored once when the same call is repeated', async () => {
      const server = await startServer();
      const reader = await openLog(server, { connectionName: 'reader' });
      const { appender } = openAppender(server, 'writer', { retryForMs: 200 });
      const project = new TestProject();
      const stream = project.stream('device');
      const before = expectedRevision === 'no-stream' ? [] : project.events(1);
      if (before.length > 0) await write(appender, stream, before, 'no-stream');
      const events = project.events(2);

      const records = server.recordCount;
      server.loseAnswers(1);
      const append = write(appender, stream, events, expectedRevision);
      await Promise.all([
        expect(append).rejects.toMatchObject({ code: 'store-unavailable' }),
        asSoonAs(() => server.recordCount > records).then(() => server.kill()),
      ]);
      await server.restart();

      // Again and again, until there is a connection: this appender is told soon that there is
      // none.
      const answer = await vi.waitFor(
        () => write(appender, stream, events, expectedRevision),
        20_000,
      );
      const recorded = await readStream(reader, stream);
      expect(ids(recorded)).toEqual(ids([...before, ...events]));
      expect(stored(answer)).toMatchObject({
        revision: recorded.at(-1)?.revision,
        position: recorded.at(-1)?.position,
      });
    });
  });
}

test('an append to a stream that does not exist is refused when its outcome was unknown', async () => {
  const server = await startServer();
  const reader = await openLog(server, { connectionName: 'reader' });
  const { appender } = openAppender(server, 'writer');
  const project = new TestProject();
  const stream = project.stream('device');
  for (const expectedRevision of ['stream-exists', 3n] as const) {
    server.answerDeadlineExceeded(1, { stored: false });
    expect(await write(appender, stream, project.events(2), expectedRevision)).toEqual({
      outcome: 'conflict',
      actualRevision: 'no-stream',
    });
  }
  expect(await readStream(reader, stream)).toEqual([]);
});

test('an append with any is found far behind what other writers appended since', async () => {
  const server = await startServer();
  const reader = await openLog(server, { connectionName: 'reader' });
  const { appender } = openAppender(server, 'writer');
  const project = new TestProject();
  const stream = project.stream('device');
  const events = project.events(3);
  const records = server.recordCount;
  server.loseAnswers(1);
  const [answer] = await Promise.all([
    write(appender, stream, events, 'any'),
    asSoonAs(() => server.recordCount > records).then(async () => {
      server.appendForeign(stream, 'OtherWriterCame', 450);
      await server.kill();
      await server.restart();
    }),
  ]);
  expect(stored(answer).revision).toBe(2n);
  expect(ids(await readStream(reader, stream))).toEqual(ids(events));
});
