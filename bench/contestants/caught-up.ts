import { setTimeout as delay } from 'node:timers/promises';
import type { Ledger } from '../../src/service/ledger.ts';
import type { BenchServer } from '../server.ts';

/** Until all read models hold what is in the log. */
export async function untilCaughtUp({ store, administration }: Ledger): Promise<void> {
  const head = await store.head();
  for (;;) {
    const statuses = await administration.statuses();
    if (statuses.every(({ position }) => position >= head)) return;
    await delay(20);
  }
}

/**
 * The same, and then nothing runs beside what is measured: as tables are when they have come to
 * rest.
 */
export async function atRest(ledger: Ledger, server: BenchServer): Promise<void> {
  ledger.engine.start();
  await untilCaughtUp(ledger);
  await ledger.engine.stop();
  await ledger.database.query({ text: 'vacuum (analyze)' });
  await server.checkpoint();
}
