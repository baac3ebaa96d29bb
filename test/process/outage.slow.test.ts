// @module-tag slow
import { test, vi } from 'vitest';
import { dataDir, open, processesIn, signal } from '../database/embedded-server-fixture.ts';
import { testEventStoreUrl } from '../event-store/test-log.ts';
import { PROJECTION_PARTS } from '../projections/projection-versions.ts';
import { throughAnOutage } from './through-an-outage.ts';

vi.setConfig({ testTimeout: 240_000 });

/** With the log elsewhere, commands are carried out without the database. */
const isLogElsewhere = testEventStoreUrl('postgres://any/any') !== undefined;
const failing = ['database', ...PROJECTION_PARTS, ...(isLogElsewhere ? [] : ['log'])];
const LATE = [503, 200, 201];

test('a database that is stopped for 30 s under load costs nothing but that time', async () => {
  const server = await open();
  await throughAnOutage({
    settings: { DATABASE_URL: server.url },
    outageMs: 30_000,
    failing,
    goAway: () => server.close(),
    async comeBack() {
      await open();
    },
    answers: isLogElsewhere ? LATE : [503],
    isRebuilt: true,
    isWrittenTo: isLogElsewhere,
  });
});

test('a database that falls silent for 30 s under load costs nothing but that time', async () => {
  const server = await open();
  const signalAll = async (name: NodeJS.Signals): Promise<void> => {
    for (const pid of processesIn(dataDir)) signal(pid, name);
  };
  try {
    await throughAnOutage({
      settings: { DATABASE_URL: server.url },
      outageMs: 30_000,
      failing,
      goAway: () => signalAll('SIGSTOP'),
      comeBack: () => signalAll('SIGCONT'),
      // It answers late what it had received.
      answers: LATE,
      isRebuilt: false,
      isWrittenTo: isLogElsewhere,
    });
  } finally {
    await signalAll('SIGCONT');
  }
});
