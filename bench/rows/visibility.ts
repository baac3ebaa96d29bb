import type { Ledger } from '../../src/main.ts';
import { openBenchLedger } from '../contestants/open-ledger.ts';
import {
  pacedAppends,
  visibilityOf,
  watchMoves,
  type Visibility,
} from '../contestants/paced-appends.ts';
import { milliseconds } from '../format.ts';
import type { Row } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL_P99_MS = 50;
const APPENDS_PER_SECOND = 1_000;
const SENSORS = 1_000;

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
    const revisions = Array.from({ length: SENSORS }, (): bigint | undefined => undefined);
    const measure = async (durationSeconds: number): Promise<Visibility> => {
      const isOver = (count: number): boolean => count >= durationSeconds * APPENDS_PER_SECOND;
      const load = { revisions, perSecond: APPENDS_PER_SECOND, isOver };
      return visibilityOf(await pacedAppends(ledger, load), moves);
    };
    await measure(isQuick ? 0.5 : 2);
    const measured: Visibility[] = [];
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
