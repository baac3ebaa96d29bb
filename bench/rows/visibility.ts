import { setTimeout as delay } from 'node:timers/promises';
import type * as streamNameModule from '../../src/event-store/stream-name.ts';
import type * as idsModule from '../../src/shared/ids.ts';
import type { Ledger } from '../../src/main.ts';
import { compiled } from '../build.ts';
import { openBenchLedger } from '../contestants/open-ledger.ts';
import { BENCH_PROJECT, sensorEvent, sensorId } from '../contestants/sensor-event.ts';
import { milliseconds } from '../format.ts';
import type { Row } from '../row.ts';
import { median, percentile } from '../statistics.ts';

const GOAL_P99_MS = 50;
const APPENDS_PER_SECOND = 1_000;
const SENSORS = 1_000;

interface Round {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly appendP50Ms: number;
}

/**
 * From the moment an append is due (by the clock, so that a stall counts for all that it delays)
 * until the runner has committed a checkpoint at or after it: a query that begins then sees it.
 * Nobody waits for it in the meantime, since waiting makes the runner hurry.
 */
export const visibilityRow: Row = {
  name: 'visibility',
  async measure({ server, rounds, isQuick }) {
    const seconds = isQuick ? 1 : 5;
    const ledger = await openBenchLedger(await server.createDatabase('visibility'));
    const moves = watchMoves(ledger);
    ledger.engine.start();
    const revisions: bigint[] = [];
    const measure = async (durationSeconds: number): Promise<Round> =>
      measureRound(await pacedAppends(ledger, revisions, durationSeconds), moves);
    await measure(isQuick ? 0.5 : 2);
    const measured: Round[] = [];
    for (let round = 0; round < rounds; round++) {
      await server.checkpoint();
      measured.push(await measure(seconds));
    }
    await ledger.engine.stop();
    await verify(ledger);
    await ledger.close();
    await server.dropDatabase('visibility');

    const p50Ms = median(measured.map((round) => round.p50Ms));
    const p99Ms = median(measured.map((round) => round.p99Ms));
    return {
      lines: [
        {
          row: 'append to visible, 1,000/s',
          ours: `p50 ${milliseconds(p50Ms)}, p99 ${milliseconds(p99Ms)}`,
          ratios: milliseconds(p99Ms),
          goal: `p99 < ${GOAL_P99_MS} ms`,
          isMet: p99Ms < GOAL_P99_MS,
        },
      ],
      notes: [
        `visibility: from the moment an append was due until the checkpoint of the state read model was committed at or after it, ${SENSORS.toLocaleString('en')} sensors, engine in the same process, nobody waiting. The append alone took ${milliseconds(median(measured.map((round) => round.appendP50Ms)))} (p50); the slowest of all was visible after ${milliseconds(Math.max(...measured.map((round) => round.maxMs)))}.`,
      ],
      rounds: measured,
    };
  },
};

/** When the checkpoint of the state read model was seen to move, and to where. */
interface Move {
  readonly position: bigint;
  readonly atMs: number;
}

/** Beside the runner, which tells of each commit; asking for positions would make it hurry. */
function watchMoves({ engine: { freshness } }: Ledger): Move[] {
  const moves: Move[] = [];
  const moved = freshness.moved.bind(freshness);
  freshness.moved = (projection, position) => {
    moved(projection, position);
    if (projection === 'state') moves.push({ position, atMs: performance.now() });
  };
  return moves;
}

interface PacedAppend {
  readonly dueAtMs: number;
  readonly answeredAtMs: number;
  readonly position: bigint;
}

/** Appends at a steady pace, also while earlier ones are not answered yet. */
async function pacedAppends(
  { store }: Ledger,
  revisions: (bigint | undefined)[],
  seconds: number,
): Promise<PacedAppend[]> {
  const { streamName } = await compiled<typeof streamNameModule>('event-store/stream-name.ts');
  const { newEventId } = await compiled<typeof idsModule>('shared/ids.ts');

  async function append(index: number, dueAtMs: number): Promise<PacedAppend> {
    const sensor = index % SENSORS;
    const events = [{ id: newEventId(), ...sensorEvent(sensor, index) }];
    const stream = streamName('sensor', BENCH_PROJECT, sensorId(sensor));
    const expectedRevision = revisions[sensor] ?? 'no-stream';
    const [appended] = await store.append([{ stream, events, expectedRevision }]);
    if (appended?.outcome !== 'appended') throw new Error('an append was refused');
    revisions[sensor] = appended.revision;
    return { dueAtMs, answeredAtMs: performance.now(), position: appended.position };
  }

  const running: Promise<PacedAppend>[] = [];
  const startedAtMs = performance.now();
  for (let index = 0; index < seconds * APPENDS_PER_SECOND; index++) {
    const dueAtMs = startedAtMs + (index * 1_000) / APPENDS_PER_SECOND;
    while (performance.now() < dueAtMs) await delay(1);
    running.push(append(index, dueAtMs));
  }
  return Promise.all(running);
}

async function measureRound(appends: readonly PacedAppend[], moves: Move[]): Promise<Round> {
  const head = appends.reduce((max, { position }) => (position > max ? position : max), 0n);
  while ((moves.at(-1)?.position ?? 0n) < head) await delay(1);
  const visibleMs = appends.map(({ position, dueAtMs }) => {
    const move = moves.find((candidate) => candidate.position >= position);
    return (move?.atMs ?? Number.NaN) - dueAtMs;
  });
  moves.length = 0;
  return {
    p50Ms: percentile(visibleMs, 50),
    p99Ms: percentile(visibleMs, 99),
    maxMs: Math.max(...visibleMs),
    appendP50Ms: percentile(
      appends.map(({ dueAtMs, answeredAtMs }) => answeredAtMs - dueAtMs),
      50,
    ),
  };
}

/** What was called visible is there. */
async function verify({ database }: Ledger): Promise<void> {
  const [row] = await database.query<{ events: bigint; history: bigint }>({
    text: `
      select
        (select count(*) from ledger.events) as events,
        (select count(*) from read_state_v1.history) as history`,
  });
  if (row === undefined || row.history !== row.events) {
    throw new Error(`${row?.events} events are in the log, ${row?.history} in the read model`);
  }
}
