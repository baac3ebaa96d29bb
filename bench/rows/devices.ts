import type * as domainsModule from '../../src/domains.ts';
import type * as tenancyQueriesModule from '../../src/projections/tenancy/queries.ts';
import type * as timelineQueriesModule from '../../src/projections/tenancy/queries/timeline.ts';
import { compiled } from '../build.ts';
import { atRest } from '../contestants/caught-up.ts';
import { openBenchLedger } from '../contestants/open-ledger.ts';
import { BENCH_PROJECT } from '../contestants/sensor-event.ts';
import { fillSensorLog } from '../contestants/sensor-log.ts';
import { fillTenancyLog } from '../contestants/tenancy-log.ts';
import { milliseconds, times } from '../format.ts';
import type { Line, Row, Setting } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL = 1.3;
const PAGE = 50;
const PATCHES_PER_SENSOR = 3;

/**
 * How long a page of devices, and of one device's timeline, takes among few and among many devices.
 */
export const devicesRow: Row = {
  name: 'devices',
  async measure(setting) {
    const { server, rounds, isQuick } = setting;
    const sizes = isQuick ? ([100, 1_000] as const) : ([1_000, 100_000] as const);
    const samples = isQuick ? 20 : 300;
    const [few, many] = [await openFleet(setting, sizes[0]), await openFleet(setting, sizes[1])];
    const list = { few: [] as number[], many: [] as number[] };
    const timeline = { few: [] as number[], many: [] as number[] };
    // The first round warms both up.
    for (let round = 0; round <= rounds; round++) {
      for (let sample = 0; sample < samples; sample++) {
        const taken = [
          [list.few, await few.list()],
          [list.many, await many.list()],
          [timeline.few, await few.timeline()],
          [timeline.many, await many.timeline()],
        ] as const;
        if (round > 0) for (const [all, ms] of taken) all.push(ms);
      }
    }
    await few.close();
    await many.close();
    await server.dropDatabase(`devices_${sizes[0]}`);
    await server.dropDatabase(`devices_${sizes[1]}`);
    const size = sizes[1].toLocaleString('en');
    const line = (row: string, of: typeof list): Line => {
      const ratio = median(of.many) / median(of.few);
      return {
        row: `${row}, ${size} devices`,
        ours: milliseconds(median(of.many)),
        limit: `${milliseconds(median(of.few))} (${sizes[0].toLocaleString('en')})`,
        ratios: times(ratio),
        goal: `<= ${GOAL}x`,
        isMet: ratio <= GOAL,
      };
    };
    return {
      lines: [line(`page of ${PAGE} devices`, list), line('page of a timeline', timeline)],
      notes: [
        'devices: pages from places at random, through the queries of the API without HTTP, ' +
          'alternating between both fleets; each device has a key and a sensor with ' +
          `${PATCHES_PER_SENSOR} patches.`,
      ],
      rounds: { list, timeline },
    };
  },
};

interface Fleet {
  list(): Promise<number>;
  timeline(): Promise<number>;
  close(): Promise<void>;
}

async function openFleet({ server }: Setting, devices: number): Promise<Fleet> {
  const { TenancyQueries } = await compiled<typeof tenancyQueriesModule>(
    'projections/tenancy/queries.ts',
  );
  const { TimelineQueries } = await compiled<typeof timelineQueriesModule>(
    'projections/tenancy/queries/timeline.ts',
  );
  const { timeline } = await compiled<typeof domainsModule>('domains.ts');
  const ledger = await openBenchLedger(await server.createDatabase(`devices_${devices}`));
  await fillTenancyLog(ledger.database, devices);
  await fillSensorLog(ledger.database, {
    prefix: 's',
    sensors: devices,
    eventsPerSensor: PATCHES_PER_SENSOR,
  });
  await atRest(ledger, server);
  const tenancy = new TenancyQueries(ledger.models);
  const timelines = new TimelineQueries(ledger.models, timeline);
  const anyDevice = (): string => `d${Math.floor(Math.random() * devices)}`;
  const timed = async (query: () => Promise<{ value: readonly unknown[] }>): Promise<number> => {
    const startedAtMs = performance.now();
    const { value } = await query();
    if (value.length === 0) throw new Error('a page was empty');
    return performance.now() - startedAtMs;
  };
  return {
    list: () => {
      const after = `d${Math.floor(Math.random() * 9)}`;
      return timed(() => tenancy.devices(BENCH_PROJECT, { after, limit: PAGE + 1 }, {}));
    },
    timeline: () =>
      timed(() => timelines.ofDevice(BENCH_PROJECT, anyDevice(), { limit: PAGE + 1 }, {})),
    close: () => ledger.close(),
  };
}
