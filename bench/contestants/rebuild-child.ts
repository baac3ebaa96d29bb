import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { measureBacklog, type Backlog } from './backlog-result.ts';
import { openBenchLedger } from './open-ledger.ts';

/** Ours: one projection rebuilt from the log, to the swap; nothing else runs. */
const backlog = JSON.parse(process.argv[2] ?? '') as Backlog;
const { projection, events } = backlog;
const ledger = await openBenchLedger(backlog.databaseUrl, backlog.eventStoreUrl);
const { engine, administration, store } = ledger;
const head = await store.head();

const result = await measureBacklog(async () => {
  const replayId = randomUUID();
  await administration.requestReplay(projection, { replayId, kind: 'rebuild', actor: 'bench' });
  engine.startReplays();
  for (;;) {
    const { progress } = await administration.replay('rebuild', replayId);
    if (progress.status === 'completed') return events;
    if (progress.status !== 'running') throw new Error(`the rebuild has ${progress.status}`);
    await delay(20);
  }
});

const { position } = await administration.status(projection);
if (position < head) throw new Error(`the rebuild is at ${position} of ${head}`);
await engine.stop();
await ledger.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));
