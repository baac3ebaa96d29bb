import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { batchDecider, batchStream } from '../../src/commands/deveui/decider.ts';
import type { CommandContext } from '../../src/commands/core/context.ts';
import { deviceStream } from '../../src/commands/tenancy/device-decider.ts';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import type { BatchEvent } from '../../src/events/deveui.ts';
import type { DeviceEvent } from '../../src/events/tenancy.ts';
import type { RecordedEvent } from '../../src/event-store/port.ts';
import { deveuiProjection } from '../../src/projections/deveui/projection.ts';
import { DEVEUIS_PER_PARTITION, DevEuiQueries } from '../../src/projections/deveui/queries.ts';
import { tenancyProjection } from '../../src/projections/tenancy/projection.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { anyBatchHistory, eventsOf } from '../commands/deveui/batch-histories.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { cut, PastEvents, openByHand, type TablesByHand } from './by-hand.ts';
import { startReadProcess } from './read-process.ts';

const logger = createLogger('silent');
const NOON = '2026-01-31T12:00:00.000Z';
const LATER = '2026-01-31T12:00:05.000Z';

let projects = 0;

/** A project of the test's own. */
function newProject(): string {
  projects += 1;
  return `p${projects}`;
}

/** A DevEUI for each number, whose short code is that number. */
function devEui(number: number): string {
  return `FFA45722AA7${number.toString(16).toUpperCase().padStart(5, '0')}`;
}

const requested = (batchId: string, size = 100): BatchEvent => ({
  type: 'BatchRequested',
  data: {
    batchId,
    size,
    prefix: 'FFA457',
    seed: '5eed'.repeat(16),
    provider: 'http://one',
    concurrency: 10,
    requestedAt: NOON,
  },
});
const drawn = (batchId: string, number: number, candidate = number): BatchEvent => ({
  type: 'DevEuiAttempted',
  data: { batchId, devEui: devEui(number), candidate, attempt: 1, sentAt: NOON },
});
const askedAgain = (batchId: string, number: number, attempt: number): BatchEvent => ({
  type: 'DevEuiAttempted',
  data: { batchId, devEui: devEui(number), candidate: null, attempt, sentAt: NOON },
});
type AnswerType = 'DevEuiRegistered' | 'DevEuiConflicted' | 'DevEuiUnconfirmed';
const answered = (type: AnswerType, batchId: string, number: number, attempt = 1): BatchEvent => ({
  type,
  data: {
    batchId,
    devEui: devEui(number),
    attempt,
    providerStatus: type === 'DevEuiRegistered' ? 200 : 422,
    endedAt: LATER,
  },
});
const failed = (
  batchId: string,
  number: number,
  attempt: number,
  reason = 'timed out',
): BatchEvent => ({
  type: 'DevEuiAttemptFailed',
  data: {
    batchId,
    devEui: devEui(number),
    attempt,
    providerStatus: null,
    reason,
    mayBeRegistered: true,
    failures: 1,
    endedAt: LATER,
  },
});
const stopped = (batchId: string): BatchEvent => ({ type: 'BatchStopped', data: { batchId } });
const hidden = (batchId: string): BatchEvent => ({ type: 'BatchHidden', data: { batchId } });
const completed = (batchId: string): BatchEvent => ({ type: 'BatchCompleted', data: { batchId } });
const resumed = (batchId: string): BatchEvent => ({
  type: 'BatchResumed',
  data: { batchId, provider: 'http://one', concurrency: 10 },
});
const batchFailed = (batchId: string, reason: string): BatchEvent => ({
  type: 'BatchFailed',
  data: { batchId, reason },
});

/** As a log would have recorded them: each in the stream of its batch. */
function record(
  past: PastEvents,
  projectId: string,
  events: readonly BatchEvent[],
): RecordedEvent[] {
  return events.map((event) => past.record(batchStream(projectId, event.data.batchId), event));
}

describe('with tables that are filled by hand', () => {
  const testDatabase = createTestDatabase();
  let queries: DevEuiQueries;
  let tables: TablesByHand;
  let oneByOne: TablesByHand;
  let tenancy: TablesByHand;

  beforeAll(async () => {
    const byHand = await openByHand(testDatabase.url, deveuiProjection, tenancyProjection);
    ({ tables, oneByOne } = byHand);
    queries = new DevEuiQueries(byHand.models);
    [tenancy] = byHand.others;
    return byHand.close;
  });

  /** In a project of its own. */
  async function happened(...events: readonly BatchEvent[]): Promise<string> {
    const projectId = newProject();
    await tables.apply(record(new PastEvents(), projectId, events));
    return projectId;
  }

  async function attemptsOf(projectId: string, batchId: string): Promise<unknown[] | undefined> {
    const { value } = await queries.attempts(projectId, batchId, { limit: 1_000 }, {});
    return value?.map((entry) => [
      entry.devEui,
      entry.attempt,
      entry.outcome,
      entry.providerStatus,
      entry.reason,
    ]);
  }

  describe('a batch', () => {
    test('that was requested is processing, and has no DevEUIs', async () => {
      const projectId = await happened(requested('b1', 7));

      expect((await queries.batch(projectId, 'b1', {})).value).toEqual({
        batchId: 'b1',
        position: 1n,
        status: 'Processing',
        reason: null,
        requestedAt: new Date(NOON),
        counts: {
          requested: 7,
          attempted: 0,
          registered: 0,
          conflicted: 0,
          unconfirmed: 0,
          inFlight: 0,
        },
        devEuis: [],
        unconfirmed: [],
        inFlight: [],
      });
    });

    test('counts its DevEUIs, not its attempts, and lists them as they were drawn', async () => {
      const projectId = await happened(
        requested('b1'),
        ...[9, 3, 7, 1, 5, 2].map((number, place) => drawn('b1', number, place)),
        answered('DevEuiRegistered', 'b1', 1),
        answered('DevEuiConflicted', 'b1', 3),
        failed('b1', 7, 1),
        failed('b1', 2, 1),
        askedAgain('b1', 7, 2),
        answered('DevEuiUnconfirmed', 'b1', 7, 2),
        answered('DevEuiRegistered', 'b1', 9),
      );

      expect((await queries.batch(projectId, 'b1', {})).value).toMatchObject({
        counts: {
          requested: 100,
          attempted: 6,
          registered: 2,
          conflicted: 1,
          unconfirmed: 1,
          inFlight: 2,
        },
        devEuis: [devEui(9), devEui(1)],
        unconfirmed: [devEui(7)],
      });
    });

    test('is stopped, resumed, failed with its reason, and completed', async () => {
      const projectId = newProject();
      const past = new PastEvents();
      const statuses: unknown[] = [];
      for (const event of [
        requested('b1'),
        stopped('b1'),
        resumed('b1'),
        batchFailed('b1', 'answered 503'),
        drawn('b1', 1),
        resumed('b1'),
        completed('b1'),
      ]) {
        await tables.apply(record(past, projectId, [event]));
        const { value } = await queries.summary(projectId, 'b1', {});
        statuses.push([value?.status, value?.reason]);
      }

      expect(statuses).toEqual([
        ['Processing', null],
        ['Stopped', null],
        ['Processing', null],
        ['Failed', 'answered 503'],
        ['Failed', 'answered 503'],
        ['Processing', null],
        ['Completed', null],
      ]);
    });

    test('that is hidden is not there any more, but its DevEUIs are', async () => {
      const projectId = await happened(
        requested('b1'),
        drawn('b1', 1),
        answered('DevEuiRegistered', 'b1', 1),
        stopped('b1'),
        hidden('b1'),
        requested('b2'),
      );

      for (const missing of ['b1', 'never']) {
        expect((await queries.batch(projectId, missing, {})).value).toBeUndefined();
        expect((await queries.summary(projectId, missing, {})).value).toBeUndefined();
        expect((await queries.partitions(projectId, missing, {})).value).toBeUndefined();
        expect((await queries.partition(projectId, missing, 1, {})).value).toBeUndefined();
        expect(await attemptsOf(projectId, missing)).toBeUndefined();
      }
      const { value } = await queries.batches(projectId, { limit: 10 }, {});
      expect(value.map(({ batchId }) => batchId)).toEqual(['b2']);
      expect((await queries.devEui(projectId, devEui(1), {})).value).toMatchObject({
        status: 'registered',
        batchId: 'b1',
      });
    });

    test('is listed among those of its project, newest first, in pages', async () => {
      const projectId = await happened(...['c', 'a', 'b'].map((id) => requested(id)));
      await happened(requested('other'));
      const ids = async (page: Parameters<DevEuiQueries['batches']>[1]) =>
        (await queries.batches(projectId, page, {})).value.map(({ batchId }) => batchId);

      expect(await ids({ limit: 10 })).toEqual(['b', 'a', 'c']);
      const [first] = (await queries.batches(projectId, { limit: 1 }, {})).value;
      expect(first).toEqual((await queries.summary(projectId, 'b', {})).value);
      expect(await ids({ limit: 2, before: first!.position })).toEqual(['a', 'c']);
    });

    test('is another one in another project, whatever it is called', async () => {
      const one = await happened(
        requested('b1'),
        drawn('b1', 1),
        answered('DevEuiRegistered', 'b1', 1),
      );
      const other = await happened(requested('b1'), drawn('b1', 1));

      expect((await queries.batch(one, 'b1', {})).value).toMatchObject({ devEuis: [devEui(1)] });
      expect((await queries.batch(other, 'b1', {})).value).toMatchObject({ devEuis: [] });
      expect((await queries.devEui(other, devEui(1), {})).value?.status).toBe('in_flight');
    });
  });

  describe('attempts', () => {
    test('are each listed with how it ended, oldest first, in pages', async () => {
      const projectId = await happened(
        requested('b1'),
        drawn('b1', 2),
        drawn('b1', 1),
        failed('b1', 2, 1),
        askedAgain('b1', 2, 2),
        answered('DevEuiConflicted', 'b1', 1),
        answered('DevEuiUnconfirmed', 'b1', 2, 2),
        drawn('b1', 3),
        answered('DevEuiRegistered', 'b1', 3),
        drawn('b1', 4),
      );

      const all = [
        [devEui(2), 1, 'failed', null, 'timed out'],
        [devEui(1), 1, 'conflicted', 422, null],
        [devEui(2), 2, 'unconfirmed', 422, null],
        [devEui(3), 1, 'registered', 200, null],
        [devEui(4), 1, 'in_flight', null, null],
      ];
      expect(await attemptsOf(projectId, 'b1')).toEqual(all);
      const page = { limit: 2 };
      const first = (await queries.attempts(projectId, 'b1', page, {})).value ?? [];
      expect(first[0]).toMatchObject({ sentAt: new Date(NOON), endedAt: new Date(LATER) });
      const after = first.at(-1)!.position;
      const second = (await queries.attempts(projectId, 'b1', { ...page, after }, {})).value ?? [];
      expect([...first, ...second].map((entry) => entry.devEui)).toEqual(
        all.slice(0, 4).map(([id]) => id),
      );
      const last = second.at(-1)!.position;
      expect((await queries.attempts(projectId, 'b1', { ...page, after: last }, {})).value).toEqual(
        [expect.objectContaining({ devEui: devEui(4), endedAt: null })],
      );
    });

    test('of a batch that has made none are an empty list', async () => {
      expect(await attemptsOf(await happened(requested('b1')), 'b1')).toEqual([]);
    });

    test('that are in flight when another is answered are superseded by it', async () => {
      const projectId = await happened(
        requested('b1'),
        drawn('b1', 1),
        failed('b1', 1, 1, 'interrupted'),
        askedAgain('b1', 1, 2),
        answered('DevEuiRegistered', 'b1', 1, 1),
      );

      expect(await attemptsOf(projectId, 'b1')).toEqual([
        [devEui(1), 1, 'registered', 200, null],
        [devEui(1), 2, 'failed', null, 'superseded: another request for it was answered'],
      ]);
    });
  });

  describe('partitions', () => {
    test('are slices of 1,000 of what is not somebody else’s, as it was drawn', async () => {
      const count = 2 * DEVEUIS_PER_PARTITION + 300;
      const numbers = Array.from({ length: count }, (_, index) => index);
      const conflicted = numbers.filter((number) => number % 10 === 0);
      const projectId = await happened(
        requested('b1', count),
        ...numbers.map((number) => drawn('b1', number)),
        ...conflicted.map((number) => answered('DevEuiConflicted', 'b1', number)),
        answered('DevEuiRegistered', 'b1', 1),
        answered('DevEuiUnconfirmed', 'b1', 2),
      );

      expect((await queries.partitions(projectId, 'b1', {})).value).toEqual([1_000, 1_000, 70]);
      const slices = await Promise.all(
        [1, 2, 3].map(async (n) => (await queries.partition(projectId, 'b1', n, {})).value ?? []),
      );
      expect(slices.map((slice) => slice.length)).toEqual([1_000, 1_000, 70]);
      expect(slices.flat().map((entry) => entry.devEui)).toEqual(
        numbers.filter((number) => number % 10 !== 0).map(devEui),
      );
      expect(slices[0]?.slice(0, 3)).toEqual([
        { devEui: devEui(1), shortCode: '00001', status: 'registered' },
        { devEui: devEui(2), shortCode: '00002', status: 'unconfirmed' },
        { devEui: devEui(3), shortCode: '00003', status: 'in_flight' },
      ]);
      expect((await queries.partition(projectId, 'b1', 4, {})).value).toBeUndefined();
    });

    test('of a batch without DevEUIs are one, which is empty', async () => {
      const projectId = await happened(requested('b1'));

      expect((await queries.partitions(projectId, 'b1', {})).value).toEqual([0]);
      expect((await queries.partition(projectId, 'b1', 1, {})).value).toEqual([]);
      expect((await queries.partition(projectId, 'b1', 2, {})).value).toBeUndefined();
    });

    test('that are just full are followed by no empty one', async () => {
      const numbers = Array.from({ length: DEVEUIS_PER_PARTITION }, (_, index) => index);
      const projectId = await happened(
        requested('b1', 1_000),
        ...numbers.map((number) => drawn('b1', number)),
      );

      expect((await queries.partitions(projectId, 'b1', {})).value).toEqual([1_000]);
      expect((await queries.partition(projectId, 'b1', 2, {})).value).toBeUndefined();
    });
  });

  describe('DevEUIs', () => {
    test.each<[string, readonly AnswerType[], string, string]>([
      ['registered', ['DevEuiConflicted', 'DevEuiUnconfirmed', 'DevEuiRegistered'], 'b3', 'b3'],
      ['unconfirmed', ['DevEuiConflicted', 'DevEuiUnconfirmed'], 'b3', 'b2'],
      ['in_flight', ['DevEuiConflicted', 'DevEuiConflicted'], 'b3', 'b3'],
      ['conflicted', ['DevEuiConflicted'], 'b1', 'b1'],
    ])('in several batches are %s where they got furthest', async (status, types, last, best) => {
      const batches = ['b1', 'b2', 'b3'].filter((id) => id <= last);
      const projectId = await happened(
        ...batches.flatMap((id) => [requested(id), drawn(id, 0x2555b)]),
        ...types.map((type, index) => answered(type, `b${index + 1}`, 0x2555b)),
      );

      expect((await queries.devEui(projectId, devEui(0x2555b), {})).value).toEqual({
        devEui: devEui(0x2555b),
        shortCode: '2555B',
        batchId: best,
        status,
        deviceId: null,
      });
    });

    test('that nobody asked for in this project are not there', async () => {
      const projectId = await happened(requested('b1'), drawn('b1', 1));
      expect((await queries.devEui(projectId, devEui(2), {})).value).toBeUndefined();
      expect((await queries.devEui(newProject(), devEui(1), {})).value).toBeUndefined();
    });

    test('are listed in each of their batches, all or by short code, in pages', async () => {
      const projectId = newProject();
      const ofPrefix = (prefix: string, batchId: string, place: number): BatchEvent => ({
        type: 'DevEuiAttempted',
        data: {
          batchId,
          devEui: `${prefix}2555B`,
          candidate: place,
          attempt: 1,
          sentAt: NOON,
        },
      });
      await tables.apply(
        record(new PastEvents(), projectId, [
          requested('b1'),
          requested('b2'),
          drawn('b1', 3, 0),
          ofPrefix('FFA45722AA7', 'b2', 0),
          ofPrefix('FFA45722AA7', 'b1', 1),
          ofPrefix('0011223344A', 'b1', 2),
        ]),
      );
      await happened(requested('b1'), drawn('b1', 0x2555b));
      const lines = async (shortCode: string | undefined, limit: number) => {
        const walked: [string, string][] = [];
        for (;;) {
          const [id, batchId] = walked.at(-1) ?? [];
          const page = {
            limit,
            ...(shortCode !== undefined && { shortCode }),
            ...(id !== undefined && batchId !== undefined && { after: { devEui: id, batchId } }),
          };
          const { value } = await queries.devEuis(projectId, page, {});
          if (value.length === 0) return walked;
          expect(value.length).toBeLessThanOrEqual(limit);
          walked.push(...value.map((line): [string, string] => [line.devEui, line.batchId]));
        }
      };

      for (const limit of [1, 2, 3, 10]) {
        expect(await lines(undefined, limit)).toEqual([
          ['0011223344A2555B', 'b1'],
          [devEui(3), 'b1'],
          [devEui(0x2555b), 'b1'],
          [devEui(0x2555b), 'b2'],
        ]);
        expect(await lines('2555B', limit)).toEqual([
          ['0011223344A2555B', 'b1'],
          [devEui(0x2555b), 'b1'],
          [devEui(0x2555b), 'b2'],
        ]);
        expect(await lines('2555C', limit)).toEqual([]);
      }
    });

    test('name the device of the project that carries them now', async () => {
      const [projectId, other] = [
        await happened(requested('b1'), drawn('b1', 1), drawn('b1', 2)),
        newProject(),
      ];
      const past = new PastEvents();
      const registered = (deviceId: string, carried: string | null): DeviceEvent => ({
        type: 'DeviceRegistered',
        data: { deviceId, devEui: carried, simCardId: null, sensorId: null, createdAt: NOON },
      });
      const device = (project: string, deviceId: string, event: DeviceEvent): Promise<void> =>
        tenancy.apply([past.record(deviceStream(project, deviceId), event)]);
      const carrier = async (): Promise<(string | null | undefined)[]> => [
        (await queries.devEui(projectId, devEui(1), {})).value?.deviceId,
        ...(await queries.devEuis(projectId, { limit: 2 }, {})).value.map((line) => line.deviceId),
      ];

      await device(other, 'a', registered('a', devEui(1)));
      await device(projectId, 'z', registered('z', null));
      expect(await carrier()).toEqual([null, null, null]);
      await device(projectId, 'd2', registered('d2', devEui(1)));
      expect(await carrier()).toEqual(['d2', 'd2', null]);
      await device(projectId, 'd1', registered('d1', devEui(1)));
      expect(await carrier()).toEqual(['d1', 'd1', null]);
      await device(projectId, 'd1', { type: 'DeviceRetired', data: { deviceId: 'd1' } });
      expect(await carrier()).toEqual(['d2', 'd2', null]);
      await device(projectId, 'd2', {
        type: 'DeviceChanged',
        data: { deviceId: 'd2', devEui: devEui(2), simCardId: null, sensorId: null },
      });
      expect(await carrier()).toEqual([null, null, 'd2']);
    });
  });

  describe('whatever has happened to a batch', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 25 }), { minLength: 1, maxLength: 5 });

    test('it is what a plain count gives, after each batch of events', async () => {
      await fc.assert(
        fc.asyncProperty(anyBatchHistory, sizes, async (history, pieces) => {
          const projectId = newProject();
          const events = eventsOf('b1', history);
          const recorded = record(new PastEvents(), projectId, events);
          let count = 0;
          for (const piece of cut(recorded, pieces)) {
            await tables.apply(piece);
            count += piece.length;
            const plain = plainCount(events.slice(0, count));

            const { value } = await queries.batch(projectId, 'b1', {});
            if (plain.isHidden) {
              expect(value).toBeUndefined();
              continue;
            }
            expect(value).toMatchObject({
              status: plain.status,
              reason: plain.reason,
              devEuis: plain.of('registered'),
              unconfirmed: plain.of('unconfirmed'),
            });
            const counts = value?.counts;
            expect(counts).toEqual({
              requested: history.size,
              attempted: plain.devEuis.size,
              registered: plain.of('registered').length,
              conflicted: plain.of('conflicted').length,
              unconfirmed: plain.of('unconfirmed').length,
              inFlight: plain.of('in_flight').length,
            });
            expect(await attemptsOf(projectId, 'b1')).toEqual(plain.attempts);
            expect((await queries.partition(projectId, 'b1', 1, {})).value).toEqual(
              [...plain.devEuis]
                .filter(([, status]) => status !== 'conflicted')
                .map(([id, status]) => ({ devEui: id, shortCode: id.slice(11), status })),
            );
          }
        }),
        { numRuns: 30 },
      );
    });

    test('the rows are the same, however the log is cut into batches of events', async () => {
      await fc.assert(
        fc.asyncProperty(
          anyBatchHistory,
          anyBatchHistory,
          sizes,
          fc.array(fc.boolean(), { minLength: 1, maxLength: 7 }),
          async (history, other, pieces, turns) => {
            const projectId = newProject();
            const events = interleaved(eventsOf('b1', history), eventsOf('b2', other), turns);
            const recorded = record(new PastEvents(), projectId, events);

            for (const piece of cut(recorded, pieces)) await tables.apply(piece);
            for (const piece of cut(recorded, [1])) await oneByOne.apply(piece);

            for (const [table, orderBy] of [
              ['batches', 'batch_id'],
              ['deveuis', 'batch_id, dev_eui'],
              ['attempts', 'position'],
              ['attempt_ends', 'batch_id, dev_eui, attempt, position'],
              ['batch_changes', 'position'],
            ] as const) {
              expect(await tables.rows(table, projectId, orderBy)).toEqual(
                await oneByOne.rows(table, projectId, orderBy),
              );
            }
          },
        ),
        { numRuns: 30 },
      );
    });
  });
});

type PlainAttempt = [string, number, string, number | null, string | null];

/** The status of a batch, told from its events one by one, in the plainest way. */
function plainCount(events: readonly BatchEvent[]): {
  readonly status: string;
  readonly reason: string | null;
  readonly isHidden: boolean;
  /** In the order in which they were drawn. */
  readonly devEuis: ReadonlyMap<string, string>;
  readonly attempts: readonly PlainAttempt[];
  of(status: string): string[];
} {
  let status = 'Processing';
  let reason: string | null = null;
  let isHidden = false;
  const devEuis = new Map<string, string>();
  const attempts: PlainAttempt[] = [];
  const end = (id: string, attempt: number, ...how: [string, number | null, string | null]) => {
    const index = attempts.findIndex((entry) => entry[0] === id && entry[1] === attempt);
    attempts[index] = [id, attempt, ...how];
  };
  for (const { type, data } of events) {
    switch (type) {
      case 'BatchHidden':
        isHidden = true;
        break;
      case 'BatchRequested':
      case 'BatchResumed':
        [status, reason] = ['Processing', null];
        isHidden = false;
        break;
      case 'BatchStopped':
      case 'BatchCompleted':
        [status, reason] = [type.slice('Batch'.length), null];
        break;
      case 'BatchFailed':
        [status, reason] = ['Failed', data.reason];
        break;
      case 'DevEuiAttempted':
        if (!devEuis.has(data.devEui)) devEuis.set(data.devEui, 'in_flight');
        attempts.push([data.devEui, data.attempt, 'in_flight', null, null]);
        break;
      case 'DevEuiAttemptFailed':
        end(data.devEui, data.attempt, 'failed', data.providerStatus, data.reason);
        break;
      case 'DevEuiRegistered':
      case 'DevEuiConflicted':
      case 'DevEuiUnconfirmed': {
        const answer = type.slice('DevEui'.length).toLowerCase();
        devEuis.set(data.devEui, answer);
        const reason = 'reason' in data ? data.reason : null;
        end(data.devEui, data.attempt, answer, data.providerStatus, reason);
        const lost = 'superseded: another request for it was answered';
        for (const [id, attempt, outcome] of attempts) {
          if (id === data.devEui && outcome === 'in_flight') end(id, attempt, 'failed', null, lost);
        }
      }
    }
  }
  const of = (wanted: string): string[] =>
    [...devEuis].filter(([, found]) => found === wanted).map(([id]) => id);
  return { status, reason, isHidden, devEuis, attempts, of };
}

/** Both lists in one, each in its own order. */
function interleaved<Item>(
  one: readonly Item[],
  other: readonly Item[],
  turns: readonly boolean[],
): Item[] {
  const [left, right] = [[...one], [...other]];
  const all: Item[] = [];
  for (let turn = 0; left.length + right.length > 0; turn += 1) {
    const next = (turns[turn % turns.length] === true ? left : right).shift();
    all.push(...(next === undefined ? (left.length > 0 ? left : right).splice(0, 1) : [next]));
  }
  return all;
}

describe('with a projection that runs', () => {
  const testDatabase = createTestDatabase();

  beforeAll(async () => {
    const database = openDatabase({ url: testDatabase.url, logger });
    await migrate(database, logger);
    await database.close();
  });

  test('what was just decided is read, counts and lists of one moment', async () => {
    const process = await startReadProcess({
      url: testDatabase.url,
      projections: [deveuiProjection, tenancyProjection],
    });
    process.engine.start();
    const queries = new DevEuiQueries(process.models);
    const context: CommandContext = { projectId: 'acme', actor: 'k1', correlationId: 'r1' };
    const stream = batchStream('acme', 'b1');
    await process.handler.execute(
      batchDecider,
      stream,
      {
        type: 'request',
        batchId: 'b1',
        size: 20,
        prefix: '',
        seed: '5eed'.repeat(16),
        provider: 'http://one',
        concurrency: 10,
        requestedAt: NOON,
      },
      context,
    );
    for (let registered = 1; registered <= 20; registered += 1) {
      const begun = await process.handler.execute(
        batchDecider,
        stream,
        { type: 'begin', sentAt: NOON },
        context,
      );
      const [event] = begun.outcome === 'recorded' ? begun.events : [];
      if (event?.type !== 'DevEuiAttempted') throw new Error('nothing was begun');
      const id = event.data.devEui;
      const { position: at } = await process.handler.execute(
        batchDecider,
        stream,
        {
          type: 'settle',
          devEui: id,
          attempt: 1,
          outcome: { kind: 'registered', providerStatus: 200 },
          endedAt: LATER,
          maxFailures: 3,
          maxConflicts: 50,
        },
        context,
      );

      const { value, position } = await queries.batch('acme', 'b1', {});

      expect(value?.devEuis).toHaveLength(registered);
      expect(value?.devEuis.at(-1)).toBe(id);
      expect(value?.counts).toMatchObject({ attempted: registered, registered, inFlight: 0 });
      expect(value?.status).toBe(registered === 20 ? 'Completed' : 'Processing');
      expect(position).toBeGreaterThanOrEqual(at);
    }
  });
});
