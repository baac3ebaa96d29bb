import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Ledger } from '../../src/service/ledger.ts';
import { untilCaughtUp } from '../contestants/caught-up.ts';
import { ledgerAppend } from '../contestants/ledger-appender.ts';
import { openBenchLedger } from '../contestants/open-ledger.ts';
import {
  pacedAppends,
  visibilityOf,
  watchMoves,
  type Visibility,
} from '../contestants/paced-appends.ts';
import { fillTenancyLog } from '../contestants/tenancy-log.ts';
import { milliseconds } from '../format.ts';
import type { Row } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL_P99_MS = 500;
const APPENDS_PER_SECOND = 500;
const SENSORS = 1_000;

/**
 * How long appends take to be visible in one projection while another is rebuilt in the same
 * process.
 */
export const rebuildBesideRow: Row = {
  name: 'rebuild-beside',
  async measure({ server, rounds, isQuick }) {
    const ledger = await openBenchLedger(await server.createDatabase('rebuild_beside'));
    await fillTenancyLog(ledger.database, isQuick ? 2_000 : 100_000);
    const moves = watchMoves(ledger);
    const append = await ledgerAppend(ledger.store);
    const revisions = Array.from({ length: SENSORS }, (): bigint | undefined => undefined);
    ledger.engine.start();
    await untilCaughtUp(ledger);
    const measured: Visibility[] = [];
    for (let round = 0; round < rounds; round++) {
      moves.length = 0;
      const rebuild = rebuilding(ledger);
      const load = { revisions, perSecond: APPENDS_PER_SECOND, isOver: () => rebuild.isDone() };
      measured.push(await visibilityOf(await pacedAppends(append, load), moves));
      await rebuild.done;
    }
    await ledger.engine.stop();
    await ledger.close();
    await server.dropDatabase('rebuild_beside');

    const p99Ms = median(measured.map((round) => round.p99Ms));
    return {
      lines: [
        {
          row: 'append to visible at 500/s beside a rebuild',
          ours:
            `p50 ${milliseconds(median(measured.map((round) => round.p50Ms)))}, ` +
            `p99 ${milliseconds(p99Ms)}`,
          ratios: milliseconds(p99Ms),
          goal: `p99 < ${GOAL_P99_MS} ms`,
          isMet: p99Ms < GOAL_P99_MS,
        },
      ],
      notes: [
        'rebuild-beside: patches at 500/s until the checkpoint of the state read model holds ' +
          'them, while tenancy is rebuilt in the same process from 200,000 events and more; ' +
          'the slowest of all was visible after ' +
          `${milliseconds(Math.max(...measured.map((round) => round.maxMs)))}.`,
      ],
      rounds: measured,
    };
  },
};

function rebuilding({ administration }: Ledger): { isDone: () => boolean; done: Promise<void> } {
  let isDone = false;
  const done = (async () => {
    const replayId = randomUUID();
    await administration.requestReplay('tenancy', { replayId, kind: 'rebuild', actor: 'bench' });
    for (;;) {
      const { progress } = await administration.replay('rebuild', replayId);
      if (progress.status !== 'running') break;
      await delay(50);
    }
    isDone = true;
  })();
  return { isDone: () => isDone, done };
}
