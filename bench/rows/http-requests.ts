import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { startChild, type RunningChild } from '../child.ts';
import { httpLoad, type HttpLoadResult } from '../contestants/http-load.ts';
import { milliseconds, percent, perSecond, times } from '../format.ts';
import { interleave, medianRatio, warmUp } from '../rounds.ts';
import type { Report, Row, Setting } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL_OF_PEER = 1.2;
const GOAL_OF_LIMIT = 0.75;

interface Measured extends HttpLoadResult {
  /** From the last answer until the read model held everything. */
  readonly caughtUpAfterMs?: number;
}

/** What is sent, and where each of it must be in the end. */
interface Sent {
  readonly name: string;
  readonly title: string;
  readonly kind: 'patch' | 'firmware';
  readonly eventType: string;
  /** The schema of the read model, with its checkpoint and a table with a row per event. */
  readonly schema: string;
  readonly table: string;
  readonly keyOf: (url: string, adminKey: string) => Promise<string>;
}

export const httpPatchRow = httpRow({
  name: 'http-patch',
  title: 'HTTP PATCH, 64 connections',
  kind: 'patch',
  eventType: 'SensorPatched',
  schema: 'read_state_g1',
  table: 'history',
  keyOf: memberKey,
});

export const httpFirmwareRow = httpRow({
  name: 'http-firmware',
  title: 'HTTP POST /firmware, 64 connections',
  kind: 'firmware',
  eventType: 'FirmwareReported',
  schema: 'read_firmware_g1',
  table: 'reports',
  keyOf: deviceKey,
});

function httpRow(sent: Sent): Row {
  return { name: sent.name, measure: (setting) => measure(sent, setting) };
}

async function measure(sent: Sent, setting: Setting): Promise<Report> {
  const { name: rowName, title, kind, keyOf } = sent;
  const { server, rounds, isQuick } = setting;
  const requests = isQuick ? 2_000 : 15_000;
  const adminKey = randomBytes(24).toString('hex');
  const url = await server.createDatabase('http_ours');
  const database = openDatabase({ url, logger: createLogger('warn'), maxConnections: 2 });
  const services = {
    ours: await startOurs(setting, url, adminKey),
    peer: await startChild(new URL('../contestants/insert-route-child.ts', import.meta.url), {
      args: [await server.createDatabase('http_peer'), adminKey],
    }),
    limit: await startChild(new URL('../contestants/nothing-stored-child.ts', import.meta.url), {
      args: [await server.createDatabase('http_limit'), adminKey],
    }),
  };
  const keys = {
    ours: await keyOf(services.ours.url, adminKey),
    peer: adminKey,
    limit: await keyOf(services.limit.url, adminKey),
  };

  let firstValue = 0;
  let sentToOurs = 0;
  const details: Record<keyof typeof services, Measured[]> = { ours: [], peer: [], limit: [] };
  const run = async (name: keyof typeof services): Promise<HttpLoadResult> => {
    await server.checkpoint();
    firstValue += 1_000;
    const { url } = services[name];
    return httpLoad({ url, key: keys[name], kind, requests, firstValue });
  };
  const contestants = {
    async ours() {
      const result = await run('ours');
      const caughtUpAfterMs = await catchUp(database, sent, result.endedAt);
      details.ours.push({ ...result, caughtUpAfterMs });
      await verify(database, sent, (sentToOurs += requests));
      return result.perSecond;
    },
    async peer() {
      details.peer.push(await run('peer'));
      return details.peer.at(-1)?.perSecond ?? 0;
    },
    async limit() {
      details.limit.push(await run('limit'));
      return details.limit.at(-1)?.perSecond ?? 0;
    },
  };
  await warmUp(contestants);
  for (const list of Object.values(details)) list.length = 0;
  const measured = await interleave(rounds, contestants);

  await database.close();
  for (const service of Object.values(services)) await service.stop();
  for (const name of ['http_ours', 'http_peer', 'http_limit']) await server.dropDatabase(name);

  const ofPeer = medianRatio(measured.ours, measured.peer);
  const ofLimit = medianRatio(measured.ours, measured.limit);
  const caughtUpAfterMs = details.ours.map((one) => one.caughtUpAfterMs ?? 0);
  return {
    lines: [
      {
        row: title,
        ours: perSecond(median(measured.ours)),
        peer: perSecond(median(measured.peer)),
        limit: perSecond(median(measured.limit)),
        ratios: `${times(ofPeer)}, ${percent(ofLimit)}`,
        goal: `>= ${GOAL_OF_PEER}x, >= ${percent(GOAL_OF_LIMIT)}`,
        isMet: ofPeer >= GOAL_OF_PEER && ofLimit >= GOAL_OF_LIMIT,
      },
    ],
    notes: [
      `${rowName}: the peer is a hand-written Express + zod route with one insert per ` +
        'request and nothing else, the limit our own service with a log that answers at once ' +
        'and stores nothing. All were accepted, and our log holds one event for each.',
      `${rowName} latency, p50 / p99: ours ${latency(details.ours)}, peer ` +
        `${latency(details.peer)}, limit ${latency(details.limit)}.`,
      `${rowName}: our read model held everything ${milliseconds(median(caughtUpAfterMs))} ` +
        `after the last answer (at most ${milliseconds(Math.max(...caughtUpAfterMs))}).`,
    ],
    rounds: { requestsPerRound: requests, ...details },
  };
}

function startOurs(
  { build, profileDir }: Setting,
  url: string,
  key: string,
): Promise<RunningChild> {
  return startChild(pathToFileURL(path.join(build.folder, 'dist/cli.js')), {
    args: ['serve'],
    env: { DATABASE_URL: url, HOST: '127.0.0.1', PORT: '0', ADMIN_API_KEY: key },
    // No `.env` there, so everything else is at its default.
    cwd: build.folder,
    profileDir,
  });
}

async function memberKey(url: string, adminKey: string): Promise<string> {
  const response = await fetch(`${url}/api/v1/projects`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'Bench' }),
  });
  if (response.status !== 201) throw new Error(`no project was made: ${await response.text()}`);
  const { owner } = (await response.json()) as { owner: { key: string } };
  return owner.key;
}

async function deviceKey(url: string, adminKey: string): Promise<string> {
  const owner = await memberKey(url, adminKey);
  const response = await fetch(`${url}/api/v1/devices`, {
    method: 'POST',
    headers: { authorization: `Bearer ${owner}`, 'content-type': 'application/json' },
    body: JSON.stringify({ device_id: 'bench' }),
  });
  if (response.status !== 201) throw new Error(`no device was made: ${await response.text()}`);
  return ((await response.json()) as { key: string }).key;
}

/** Waits until the read model is at the head of the log; how long after `endedAt` that was. */
async function catchUp(database: Database, { schema }: Sent, endedAt: number): Promise<number> {
  for (;;) {
    const [row] = await database.query<{ is_at_head: boolean }>({
      text: `
        select (select position from ${schema}.checkpoint) >= max(position) as is_at_head
        from ledger.events`,
    });
    if (row?.is_at_head === true) return Date.now() - endedAt;
    await delay(2);
  }
}

/** One event for each request, and each of them in the history. */
async function verify(
  database: Database,
  { eventType, schema, table }: Sent,
  requests: number,
): Promise<void> {
  const [row] = await database.query<{ events: bigint; history: bigint }>({
    text: `
      select
        (select count(*) from ledger.events where type = '${eventType}') as events,
        (select count(*) from ${schema}.${table}) as history`,
  });
  if (row?.events !== BigInt(requests) || row.history !== BigInt(requests)) {
    throw new Error(
      `${requests} requests were accepted, ${row?.events} are in the log, ${row?.history} in ` +
        'the history',
    );
  }
}

function latency(rounds: readonly Measured[]): string {
  const p50Ms = median(rounds.map((round) => round.p50Ms));
  const p99Ms = median(rounds.map((round) => round.p99Ms));
  return `${milliseconds(p50Ms)} / ${milliseconds(p99Ms)}`;
}
