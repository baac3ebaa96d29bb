import type { Append } from './appender.ts';
import { ledgerAppend } from './ledger-appender.ts';
import { openBenchLedger } from './open-ledger.ts';
import { watchMoves, type Move } from './paced-appends.ts';

/** One that appends, and sees when what it appended is visible. */
export interface VisibilityContestant {
  readonly append: Append;
  readonly moves: Move[];
  /** Ends it; throws when not all that was appended is visible. */
  finish(appended: number): Promise<void>;
}

/**
 * Ours: the engine in the same process. No read waits, since that would wake the runner.
 */
export async function openLedgerVisibility(
  databaseUrl: string,
  eventStoreUrl?: string,
): Promise<VisibilityContestant> {
  const ledger = await openBenchLedger(databaseUrl, eventStoreUrl);
  const moves = watchMoves(ledger);
  ledger.engine.start();
  return {
    append: await ledgerAppend(ledger.store),
    moves,
    async finish(appended) {
      await ledger.engine.stop();
      const [row] = await ledger.database.query<{ history: bigint }>({
        text: 'select count(*) as history from read_state_g1.history',
      });
      await ledger.close();
      if (row?.history !== BigInt(appended)) {
        throw new Error(`${appended} events were appended, ${row?.history} are in the read model`);
      }
    },
  };
}
