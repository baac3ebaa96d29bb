import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Position, RecordedEvent } from '../../src/event-store/port.ts';
import { streamName } from '../../src/event-store/stream-name.ts';
import { firmwareProjection } from '../../src/projections/firmware/projection.ts';
import { FirmwareQueries } from '../../src/projections/firmware/queries.ts';
import { tenancyProjection } from '../../src/projections/tenancy/projection.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { cut, PastEvents, openByHand, type TablesByHand } from './by-hand.ts';

const testDatabase = createTestDatabase();
let queries: FirmwareQueries;
let tables: TablesByHand;
let oneByOne: TablesByHand;
let devices: TablesByHand;
let projects = 0;

beforeAll(async () => {
  const byHand = await openByHand(testDatabase.url, firmwareProjection, tenancyProjection);
  ({ tables, oneByOne } = byHand);
  queries = new FirmwareQueries(byHand.models);
  [devices] = byHand.others;
  return byHand.close;
});

interface Reported {
  readonly device: string;
  readonly component: string;
  readonly version: string;
  /** A day of January 2026, at whose end reports arrive; or LONG_AGO, or AHEAD. */
  readonly day: number;
}

/** Days by a clock that was reset, to the first of January 1971, and by one that is ahead. */
const LONG_AGO = -20_088;
const AHEAD = 32;

/** A project of the test's own, and what happened in it. */
class Fleet {
  readonly projectId: string;
  readonly #past = new PastEvents();
  #reports = 0;

  constructor() {
    projects += 1;
    this.projectId = `p${projects}`;
  }

  reported({ device, component, version, day }: Reported): RecordedEvent {
    this.#reports += 1;
    const stream = streamName('firmware', this.projectId, device, String(this.#reports));
    const reportedAt = new Date(Date.UTC(2026, 0, day)).toISOString();
    return this.#past.record(
      stream,
      { type: 'FirmwareReported', data: { deviceId: device, component, version, reportedAt } },
      { occurredAt: reportedAt },
    );
  }

  device(deviceId: string, type: 'DeviceRegistered' | 'DeviceRetired'): RecordedEvent {
    const links = { devEui: null, simCardId: null, sensorId: null };
    const createdAt = '2026-01-31T12:00:00.000Z';
    const data = type === 'DeviceRetired' ? { deviceId } : { deviceId, ...links, createdAt };
    return this.#past.record(streamName('device', this.projectId, deviceId), { type, data });
  }

  async versions(device: string, asOf?: Position): Promise<unknown> {
    const { value } = await queries.current(this.projectId, device, asOf, {});
    return value.map(({ component, version, previousVersion }) => [
      component,
      version,
      previousVersion,
    ]);
  }

  async spread(asOf?: Position): Promise<unknown> {
    const { value } = await queries.spread(this.projectId, asOf, {});
    return value.map(({ component, version, devices: count, share }) => [
      component,
      version,
      count,
      share,
    ]);
  }
}

const main = (version: string, day: number, device = 'd1'): Reported => ({
  device,
  component: 'main',
  version,
  day,
});

describe('the current version of a component', () => {
  test('is the one with the newest time of the device, whatever came last', async () => {
    const fleet = new Fleet();
    const first = fleet.reported(main('1.0.0', 10));
    const late = fleet.reported(main('0.9.0', 5));
    const radio = fleet.reported({ ...main('7.0.0', 1), component: 'radio' });
    const newer = fleet.reported(main('1.1.0', 11));
    await tables.apply([first, late, radio, newer]);

    expect(await fleet.versions('d1')).toEqual([
      ['main', '1.1.0', '1.0.0'],
      ['radio', '7.0.0', null],
    ]);
    expect(await fleet.versions('d1', late.position)).toEqual([['main', '1.0.0', '0.9.0']]);
    expect(await fleet.versions('d2')).toEqual([]);
  });

  test('of two at the same time is the one that came last', async () => {
    const fleet = new Fleet();
    await tables.apply([fleet.reported(main('1.0.0', 1)), fleet.reported(main('2.0.0', 1))]);
    expect(await fleet.versions('d1')).toEqual([['main', '2.0.0', '1.0.0']]);
  });

  test('has the other version before it, however often it was reported itself', async () => {
    const fleet = new Fleet();
    const versions = ['2.0.0', '1.0.0', '1.0.0', '1.0.0'];
    await tables.apply(versions.map((version, day) => fleet.reported(main(version, day + 1))));
    expect(await fleet.versions('d1')).toEqual([['main', '1.0.0', '2.0.0']]);
  });
});

describe('a clock that is not plausible', () => {
  test('leaves the last version current that arrived, and invents no downgrade', async () => {
    const fleet = new Fleet();
    const before = fleet.reported(main('1.0.0', 10));
    const reset = fleet.reported(main('2.0.0', LONG_AGO));
    await tables.apply([before, reset]);
    expect(await fleet.versions('d1')).toEqual([['main', '2.0.0', '1.0.0']]);
    expect(await fleet.versions('d1', before.position)).toEqual([['main', '1.0.0', null]]);
    const { value } = await queries.reports(fleet.projectId, 'd1', { limit: 9 }, {});
    expect(value.map(({ version, clock }) => [version, clock])).toEqual([
      ['2.0.0', 'implausible'],
      ['1.0.0', 'plausible'],
    ]);
    expect(value[0]?.reportedAt).toEqual(new Date('1971-01-01'));
  });

  test('hides no version when it is ahead: its times count as the arrival', async () => {
    const fleet = new Fleet();
    await tables.apply([
      fleet.reported(main('1.0.0', AHEAD)),
      fleet.reported(main('2.0.0', AHEAD)),
      fleet.reported(main('3.0.0', LONG_AGO)),
    ]);
    expect(await fleet.versions('d1')).toEqual([['main', '3.0.0', '2.0.0']]);
  });
});

describe('the reports of a device', () => {
  test('are walked in their order, newest first, each once, whatever comes meanwhile', async () => {
    const fleet = new Fleet();
    const days = [3, 1, 2, 2, 5, 4];
    await tables.apply(days.map((day, index) => fleet.reported(main(`1.0.${index}`, day))));
    const walked: string[] = [];
    let after: { orderedAt: Date; before: Position } | undefined;
    let asOf: Position | undefined;
    for (;;) {
      const page = { limit: 2, ...(after && { after }), ...(asOf && { asOf }) };
      const { value } = await queries.reports(fleet.projectId, 'd1', page, {});
      const last = value.at(-1);
      if (last === undefined) break;
      walked.push(...value.map(({ version }) => version));
      after = { orderedAt: last.orderedAt, before: last.position };
      // One that belongs before what was given, and one that belongs behind it.
      const [newest, oldest] = [fleet.reported(main('9.9.9', 9)), fleet.reported(main('0.0.0', 1))];
      asOf ??= 6n as Position;
      await tables.apply([newest, oldest]);
    }
    expect(walked).toEqual(['1.0.4', '1.0.5', '1.0.0', '1.0.3', '1.0.2', '1.0.1']);
  });
});

describe('the spread of versions', () => {
  test('is of the devices that are not retired, with their share of the component', async () => {
    const fleet = new Fleet();
    const registered = ['d1', 'd2', 'd3', 'd4'].map((id) => fleet.device(id, 'DeviceRegistered'));
    const reports = [
      fleet.reported(main('1.0.0', 1)),
      fleet.reported(main('1.0.0', 2, 'd2')),
      fleet.reported(main('2.0.0', 3, 'd3')),
      fleet.reported(main('2.0.0', 4, 'd4')),
      fleet.reported({ ...main('7.0.0', 1), component: 'radio' }),
    ];
    const before = reports.at(-1)?.position;
    const retired = fleet.device('d4', 'DeviceRetired');
    const upgraded = fleet.reported(main('2.0.0', 5));
    await devices.apply([...registered, retired]);
    await tables.apply([...reports, upgraded]);

    expect(await fleet.spread()).toEqual([
      ['main', '2.0.0', 2, 2 / 3],
      ['main', '1.0.0', 1, 1 / 3],
      ['radio', '7.0.0', 1, 1],
    ]);
    expect(await fleet.spread(before)).toEqual([
      ['main', '1.0.0', 2, 0.5],
      ['main', '2.0.0', 2, 0.5],
      ['radio', '7.0.0', 1, 1],
    ]);
  });

  test('says when a version was seen first and last', async () => {
    const fleet = new Fleet();
    await devices.apply([fleet.device('d1', 'DeviceRegistered')]);
    await tables.apply([3, 1, 2].map((day) => fleet.reported(main('1.0.0', day))));
    const { value } = await queries.spread(fleet.projectId, undefined, {});
    expect(value[0]).toMatchObject({
      firstSeenAt: new Date('2026-01-01'),
      lastSeenAt: new Date('2026-01-03'),
    });
  });
});

test('however the log is cut, the tables are the same, and as a plain reading of the reports says', async () => {
  const anyReport = fc.record({
    device: fc.constantFrom('d1', 'd2'),
    component: fc.constantFrom('main', 'radio'),
    version: fc.constantFrom('1.0.0', '1.1.0', '2.0.0'),
    day: fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: 1, max: 6 }) },
      { weight: 2, arbitrary: fc.constantFrom(LONG_AGO, AHEAD) },
    ),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyReport, { minLength: 1, maxLength: 25 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
      async (reports, sizes) => {
        const fleet = new Fleet();
        const events = reports.map((report) => fleet.reported(report));
        for (const piece of cut(events, sizes)) await tables.apply(piece);
        for (const event of events) await oneByOne.apply([event]);

        const by = 'device_id, component';
        const rows = await tables.rows('current', fleet.projectId, by);
        expect(await oneByOne.rows('current', fleet.projectId, by)).toEqual(rows);
        for (const device of ['d1', 'd2']) {
          expect(await fleet.versions(device)).toEqual(plainly(reports, device));
          for (const upTo of [events.length, Math.ceil(events.length / 2)]) {
            const asOf = events[upTo - 1]?.position as Position;
            const expected = plainly(reports.slice(0, upTo), device);
            expect(await fleet.versions(device, asOf)).toEqual(expected);
          }
        }
      },
    ),
    { numRuns: 100 },
  );
});

/** All arrive one behind the other on the last of January. */
function placeOf({ day, order }: Reported & { readonly order: number }): number {
  return day === LONG_AGO || day === AHEAD ? AHEAD - 1 + order / 1_000 : day;
}

function plainly(reports: readonly Reported[], device: string): unknown[] {
  return ['main', 'radio'].flatMap((component) => {
    const inTime = reports
      .map((report, order) => ({ ...report, order }))
      .filter((report) => report.device === device && report.component === component)
      .toSorted((a, b) => placeOf(b) - placeOf(a) || b.order - a.order);
    const [newest] = inTime;
    if (newest === undefined) return [];
    const previous = inTime.find(({ version }) => version !== newest.version);
    return [[component, newest.version, previous?.version ?? null]];
  });
}
