import type { Position } from '../../src/event-store/port.ts';
import type * as stateQueriesModule from '../../src/projections/state/queries.ts';
import type * as tenancyQueriesModule from '../../src/projections/tenancy/queries.ts';
import { compiled } from '../build.ts';
import { atRest } from '../contestants/caught-up.ts';
import { openBenchLedger } from '../contestants/open-ledger.ts';
import { BENCH_PROJECT } from '../contestants/sensor-event.ts';
import { fillSensorLog } from '../contestants/sensor-log.ts';
import { fillTenancyLog } from '../contestants/tenancy-log.ts';
import { milliseconds, times } from '../format.ts';
import type { Line, Row, Setting } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL = 3;
const PAGE = 50;
const PATCHES_PER_SENSOR = 3;

/** How long a page of a list takes as of a position, against the same page now. */
export const asOfRow: Row = {
  name: 'as-of',
  async measure(setting) {
    const devices = setting.isQuick ? 1_000 : 100_000;
    const samples = setting.isQuick ? 20 : 300;
    const lists = await openLists(setting, devices);
    const taken = lists.all.map((list) => ({ ...list, now: [] as number[], past: [] as number[] }));
    // The first round warms all up.
    for (let round = 0; round <= setting.rounds; round++) {
      for (let sample = 0; sample < samples; sample++) {
        for (const { page, now, past } of taken) {
          const after = String(Math.floor(Math.random() * 9));
          const [nowMs, pastMs] = [await page(after), await page(after, lists.asOf)];
          if (round > 0) [now, past].forEach((all, index) => all.push(index ? pastMs : nowMs));
        }
      }
    }
    await lists.close();
    await setting.server.dropDatabase(`as_of_${devices}`);
    return {
      lines: taken.map(({ name, now, past }): Line => {
        const ratio = median(past) / median(now);
        return {
          row: `page of ${PAGE} ${name} as of a position, ${devices.toLocaleString('en')} devices`,
          ours: milliseconds(median(past)),
          limit: `${milliseconds(median(now))} (now)`,
          ratios: times(ratio),
          goal: `<= ${GOAL}x`,
          isMet: ratio <= GOAL,
        };
      }),
      notes: [
        'as-of: a third of the sensors was patched after the position; pages from places at ' +
          'random, through the queries of the API without HTTP, alternating with pages of now.',
      ],
      rounds: { taken },
    };
  },
};

interface List {
  readonly name: string;
  page(after: string, asOf?: Position): Promise<number>;
}

async function openLists(
  { server }: Setting,
  devices: number,
): Promise<{
  readonly all: readonly List[];
  readonly asOf: Position;
  close(): Promise<void>;
}> {
  const { TenancyQueries } = await compiled<typeof tenancyQueriesModule>(
    'projections/tenancy/queries.ts',
  );
  const { StateQueries } = await compiled<typeof stateQueriesModule>(
    'projections/state/queries.ts',
  );
  const ledger = await openBenchLedger(await server.createDatabase(`as_of_${devices}`));
  await fillTenancyLog(ledger.database, devices);
  const part = { prefix: 's', sensors: devices, eventsPerSensor: PATCHES_PER_SENSOR };
  await fillSensorLog(ledger.database, part);
  await atRest(ledger, server);
  const tenancy = new TenancyQueries(ledger.models);
  const states = new StateQueries(ledger.models);
  const timed = async (query: () => Promise<{ value: readonly unknown[] }>): Promise<number> => {
    const startedAtMs = performance.now();
    const { value } = await query();
    if (value.length === 0) throw new Error('a page was empty');
    return performance.now() - startedAtMs;
  };
  const limit = PAGE + 1;
  return {
    all: [
      {
        name: 'devices',
        page: (after, asOf) =>
          timed(() => tenancy.devices(BENCH_PROJECT, { after: `d${after}`, limit, asOf }, {})),
      },
      {
        name: 'sensors',
        page: (after, asOf) =>
          timed(() => states.sensors(BENCH_PROJECT, { after: `s${after}`, limit, asOf }, {})),
      },
      {
        name: 'keys',
        page: (after, asOf) =>
          timed(() => {
            const place = BigInt(Math.floor((Number(after) * devices) / 9)) as Position;
            return tenancy.keys(BENCH_PROJECT, { after: place, limit, asOf }, {});
          }),
      },
    ],
    // Two events of each device, then its patches: a third of a round of these comes later.
    asOf: BigInt(2 * devices + PATCHES_PER_SENSOR * devices - Math.floor(devices / 3)) as Position,
    close: () => ledger.close(),
  };
}
