import { bareProvisioning } from '../contestants/bare-provisioning.ts';
import type { ProvisioningOrder, ProvisioningResult } from '../contestants/provisioning.ts';
import { runChild, startChild } from '../child.ts';
import { mebibytes, times } from '../format.ts';
import type { Row, Setting } from '../row.ts';
import { medianRatio } from '../rounds.ts';
import { median } from '../statistics.ts';

const OURS = new URL('../contestants/provisioning-child.ts', import.meta.url);
const PROVIDER = new URL('../contestants/provider-child.ts', import.meta.url);
const LATENCY_MS = 50;
const CONFLICT_RATE = 0.05;
const IN_FLIGHT = 10;
const GOAL = 1.05;
const FAIR_GOAL = 1.1;
const MEMORY_GOAL = 1.25;

/**
 * How long a batch takes with a slow provider, against what its latency allows; fairness; memory.
 */
export const provisioningRow: Row = {
  name: 'provisioning',
  async measure(setting) {
    const { rounds, isQuick } = setting;
    const size = isQuick ? 50 : 1_000;
    const details: { single: Single[]; many: number[]; small: number[]; large: number[] } = {
      single: [],
      many: [],
      small: [],
      large: [],
    };
    for (let round = 0; round < rounds; round++) {
      details.single.push(await single(setting, size));
      const shared = await ours(setting, { batches: 20, size: isQuick ? 5 : 200 }, LATENCY_MS);
      details.many.push(Math.max(...shared.result.endedMs) / Math.min(...shared.result.endedMs));
      const small = await ours(setting, { batches: 1, size: size * 5 }, 1);
      const large = await ours(setting, { batches: 1, size: size * 10 }, 1);
      details.small.push(small.result.maxRssBytes);
      details.large.push(large.result.maxRssBytes);
    }
    const toIdeal = median(details.single.map(({ oursMs, idealMs }) => oursMs / idealMs));
    const bare = median(details.single.map(({ bareMs, bareIdealMs }) => bareMs / bareIdealMs));
    const spread = median(details.many);
    const growth = medianRatio(details.large, details.small);
    return {
      lines: [
        {
          row:
            `batch of ${size.toLocaleString('en')}, ${LATENCY_MS} ms, ${CONFLICT_RATE * 100} % ` +
            'conflicts',
          ours: seconds(median(details.single.map(({ oursMs }) => oursMs))),
          limit: `${seconds(median(details.single.map(({ idealMs }) => idealMs)))} (ideal)`,
          ratios: precise(toIdeal),
          goal: `<= ${GOAL}x`,
          isMet: toIdeal <= GOAL,
        },
        {
          row: '20 batches of 200 at once, last to first done',
          ours: precise(spread),
          ratios: precise(spread),
          goal: `<= ${FAIR_GOAL}x`,
          isMet: spread <= FAIR_GOAL,
        },
        {
          row: `batch of ${(size * 10).toLocaleString('en')}, memory`,
          ours: mebibytes(median(details.large)),
          limit: `${mebibytes(median(details.small))} (${(size * 5).toLocaleString('en')})`,
          ratios: times(growth),
          goal: `<= ${MEMORY_GOAL}x`,
          isMet: growth <= MEMORY_GOAL,
        },
      ],
      notes: [
        'provisioning: from the request until BatchCompleted is in the log, with our ' +
          'simulator as the provider, in a process of its own. The ideal is requests / ' +
          `${IN_FLIGHT} x ${LATENCY_MS} ms; ten bare workers that remember nothing take ` +
          `${precise(bare)} of it. Memory is the peak of the process, in a batch as fast as ` +
          'the provider answers, against one of half the size: both fill what the log keeps in ' +
          'memory of the newest events.',
      ],
      rounds: details,
    };
  },
};

interface Single {
  readonly oursMs: number;
  readonly idealMs: number;
  readonly bareMs: number;
  readonly bareIdealMs: number;
}

async function single(setting: Setting, size: number): Promise<Single> {
  const measured = await ours(setting, { batches: 1, size }, LATENCY_MS);
  const provider = await startProvider(LATENCY_MS);
  const bareMs = await bareProvisioning(provider.url, size);
  const bareIdealMs = idealMs(await requestsOf(provider.url));
  await provider.stop();
  return { oursMs: measured.result.elapsedMs, idealMs: measured.idealMs, bareMs, bareIdealMs };
}

const WARM_UP_SIZE = 10;

async function ours(
  { server, profileDir }: Setting,
  order: Pick<ProvisioningOrder, 'batches' | 'size'>,
  latencyMs: number,
): Promise<{ result: ProvisioningResult; idealMs: number }> {
  const provider = await startProvider(latencyMs);
  const databaseUrl = await server.createDatabase('provisioning');
  await server.checkpoint();
  const args = [JSON.stringify({ ...order, databaseUrl, providerUrl: provider.url })];
  const result = await runChild<ProvisioningResult>(OURS, { args, profileDir });
  const requests = await requestsOf(provider.url);
  await provider.stop();
  await server.dropDatabase('provisioning');
  return { result, idealMs: idealMs(requests - WARM_UP_SIZE) };
}

function startProvider(latencyMs: number): ReturnType<typeof startChild> {
  return startChild(PROVIDER, {
    args: [JSON.stringify({ latencyMs, conflictRate: CONFLICT_RATE })],
  });
}

async function requestsOf(url: string): Promise<number> {
  const stats = (await (await fetch(`${url}/stats`)).json()) as { requests: number };
  return stats.requests;
}

function idealMs(requests: number): number {
  return (requests / IN_FLIGHT) * LATENCY_MS;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}

function precise(ratio: number): string {
  return `${ratio.toFixed(3)}x`;
}
