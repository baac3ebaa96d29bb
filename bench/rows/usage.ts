import type * as bucketsModule from '../../src/projections/usage/queries/buckets.ts';
import type * as usageQueriesModule from '../../src/projections/usage/queries.ts';
import { compiled } from '../build.ts';
import { atRest } from '../contestants/caught-up.ts';
import { openBenchLedger } from '../contestants/open-ledger.ts';
import { BENCH_PROJECT } from '../contestants/sensor-event.ts';
import { fillUsageLog } from '../contestants/usage-log.ts';
import { milliseconds, times } from '../format.ts';
import type { Row, Setting } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL = 1.3;
const SIMS = 20;
const DAYS = 365;
const DAY_MS = 24 * 3_600_000;
const START_MS = Date.UTC(2025, 0, 1);

/**
 * How long a year of hourly usage of an organization by day takes, beside few and beside many
 * others.
 */
export const usageRow: Row = {
  name: 'usage',
  async measure(setting) {
    const { server, rounds, isQuick } = setting;
    const hours = (isQuick ? 10 : DAYS) * 24;
    const samples = isQuick ? 20 : 200;
    const [few, many] = [await openUsage(setting, 1, hours), await openUsage(setting, 10, hours)];
    const measured = { few: [] as number[], many: [] as number[] };
    // The first round warms both up.
    for (let round = 0; round <= rounds; round++) {
      for (let sample = 0; sample < samples; sample++) {
        const taken = [await few.byDay(), await many.byDay()] as const;
        if (round === 0) continue;
        measured.few.push(taken[0]);
        measured.many.push(taken[1]);
      }
    }
    await few.close();
    await many.close();
    await server.dropDatabase('usage_1');
    await server.dropDatabase('usage_10');
    const ratio = median(measured.many) / median(measured.few);
    const rest = (SIMS * hours).toLocaleString('en');
    return {
      lines: [
        {
          row: 'usage of an organization by day, 10 others',
          ours: milliseconds(median(measured.many)),
          limit: `${milliseconds(median(measured.few))} (1 other)`,
          ratios: times(ratio),
          goal: `<= ${GOAL}x`,
          isMet: ratio <= GOAL,
        },
      ],
      notes: [
        `usage: ${hours / 24} days of hourly usage of ${SIMS} SIM cards of one organization ` +
          'by day, through the query of the API without HTTP, beside one and beside ten other ' +
          `organizations with ${rest} records each, alternating. The sums that are read are as ` +
          'many for 10,000 SIM cards.',
      ],
      rounds: measured,
    };
  },
};

interface Usage {
  byDay(): Promise<number>;
  close(): Promise<void>;
}

async function openUsage({ server }: Setting, others: number, hours: number): Promise<Usage> {
  const { UsageQueries } = await compiled<typeof usageQueriesModule>(
    'projections/usage/queries.ts',
  );
  const ledger = await openBenchLedger(await server.createDatabase(`usage_${others}`));
  for (let other = 0; other <= others; other++) {
    const organization = other === 0 ? 'measured' : `other${other}`;
    await fillUsageLog(ledger.database, { organization, sims: SIMS, hours });
  }
  await atRest(ledger, server);
  const queries = new UsageQueries(ledger.models);
  const edges: bucketsModule.Edges = Array.from(
    { length: hours / 24 + 1 },
    (_, day) => START_MS + day * DAY_MS,
  );
  const subject = { kind: 'organization', id: 'measured' } as const;
  return {
    async byDay() {
      const page = { limit: edges.length, offset: 0 };
      const startedAtMs = performance.now();
      const { value } = await queries.byBucket(BENCH_PROJECT, subject, { edges, page }, {});
      if (value.total !== edges.length - 1) throw new Error('a day was missing');
      return performance.now() - startedAtMs;
    },
    close: () => ledger.close(),
  };
}
