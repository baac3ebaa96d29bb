import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { runChild, startChild, type RunningChild } from '../child.ts';
import { ATTACKS } from '../contestants/attacks.ts';
import { watch, type Seen } from '../contestants/bystander.ts';
import { openBenchLedger } from '../contestants/open-ledger.ts';
import { BENCH_PROJECT } from '../contestants/sensor-event.ts';
import { fillUsageLog } from '../contestants/usage-log.ts';
import { mebibytes, milliseconds, times } from '../format.ts';
import type { Line, Row, Setting } from '../row.ts';
import { percentile } from '../statistics.ts';

const GOAL_OF_HEALTH_P99_MS = 250;
const GOAL_OF_HEALTH_MS = 1_000;
const GOAL_OF_CLIENT = 3;
const GOAL_OF_MEMORY = 512 * 1024 * 1024;
const SIMS = 40;
const HOURS = 7_500;

/** How long a health check and an honest client of another project wait while a client attacks. */
export const worstStallRow: Row = {
  name: 'worst-stall',
  async measure(setting) {
    const { server, isQuick } = setting;
    const durationMs = isQuick ? 1_000 : 8_000;
    const adminKey = randomBytes(24).toString('hex');
    const service = await startFilled(setting, adminKey);
    const attacker = await ownerKey(service.url, adminKey, BENCH_PROJECT);
    const bystander = await ownerKey(service.url, adminKey, 'bystander');
    await caughtUp(service.url, adminKey);
    const { url } = service;
    const watched = { url, key: bystander, durationMs };
    // The first turn warms everything up.
    await watch(watched);
    const alone = await watch(watched);
    const attacked: Record<string, Seen> = {};
    for (const name of Object.keys(ATTACKS)) {
      const args = [JSON.stringify({ name, target: { url, key: attacker }, durationMs })];
      const attack = new URL('../contestants/attack-child.ts', import.meta.url);
      const [seen] = await Promise.all([watch(watched), runChild(attack, { args })]);
      attacked[name] = seen;
    }
    await service.stop();
    await server.dropDatabase('worst_stall');
    return {
      lines: Object.entries(attacked).map(([name, seen]) => lineOf(name, seen, alone)),
      notes: [
        `worst-stall: ${durationMs / 1_000} s of each attack with the key of a member, 40 ` +
          `requests at a time, on ${SIMS * HOURS} records of usage; beside it a health check ` +
          'every 50 ms, and an honest client of another project that patches and reads ' +
          `sensors. Health p99 < ${GOAL_OF_HEALTH_P99_MS} ms and never above ` +
          `${GOAL_OF_HEALTH_MS} ms, memory < ${mebibytes(GOAL_OF_MEMORY)}, the client's p99 at ` +
          `most ${GOAL_OF_CLIENT}x its own without attack. The attacker's process has its ` +
          'share of the cores, too.',
      ],
      rounds: { alone, attacked },
    };
  },
};

function lineOf(name: string, seen: Seen, alone: Seen): Line {
  const health = percentile(seen.healthMs, 99);
  const healthMost = Math.max(...seen.healthMs);
  const client = percentile(seen.clientMs, 99);
  const clientAlone = percentile(alone.clientMs, 99);
  return {
    row: `attack: ${name}`,
    ours:
      `health p99 ${milliseconds(health)}, max ${milliseconds(healthMost)}; client p99 ` +
      `${milliseconds(client)}; ${mebibytes(seen.peakMemoryBytes)}`,
    limit: `${milliseconds(clientAlone)} (client alone)`,
    ratios: times(client / clientAlone),
    goal: `<= ${GOAL_OF_CLIENT}x`,
    isMet:
      health < GOAL_OF_HEALTH_P99_MS &&
      healthMost <= GOAL_OF_HEALTH_MS &&
      client <= GOAL_OF_CLIENT * clientAlone &&
      seen.peakMemoryBytes < GOAL_OF_MEMORY,
  };
}

async function startFilled(setting: Setting, key: string): Promise<RunningChild> {
  const { server, build, isQuick, profileDir } = setting;
  const url = await server.createDatabase('worst_stall');
  const ledger = await openBenchLedger(url);
  const hours = isQuick ? 100 : HOURS;
  await fillUsageLog(ledger.database, { organization: 'measured', sims: SIMS, hours });
  await ledger.close();
  return startChild(pathToFileURL(path.join(build.folder, 'dist/cli.js')), {
    args: ['serve'],
    env: { DATABASE_URL: url, HOST: '127.0.0.1', PORT: '0', ADMIN_API_KEY: key },
    // No `.env` there, so everything else is at its default.
    cwd: build.folder,
    profileDir,
  });
}

async function ownerKey(url: string, adminKey: string, id: string): Promise<string> {
  const response = await fetch(`${url}/api/v1/projects`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ id, name: id }),
  });
  if (response.status !== 201) throw new Error(`no project was made: ${await response.text()}`);
  return ((await response.json()) as { owner: { key: string } }).owner.key;
}

async function caughtUp(url: string, adminKey: string): Promise<void> {
  for (;;) {
    const response = await fetch(`${url}/api/v1/admin/projections`, {
      headers: { authorization: `Bearer ${adminKey}` },
    });
    const { items } = (await response.json()) as { items: { lag_events: number }[] };
    if (items.every(({ lag_events: lag }) => lag === 0)) return;
    await delay(100);
  }
}
