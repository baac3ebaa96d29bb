// @module-tag slow
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { lead } from '../../src/database/leadership.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { dataDir, open } from './embedded-server-fixture.ts';

const logger = createLogger('silent');

test('nobody leads on a hot standby, until it is promoted', async () => {
  await (await open('tool')).close();
  await writeFile(path.join(dataDir, 'postgres', 'standby.signal'), '', { mode: 0o644 });
  const database = openDatabase({ url: (await open('tool')).url, logger, maxConnections: 1 });
  onTestFinished(() => database.close());
  const recovery = { text: 'select pg_is_in_recovery() as in_recovery' };
  expect(await database.query(recovery)).toEqual([{ in_recovery: true }]);

  const stopping = new AbortController();
  const leading = lead(database, 'an office', stopping.signal, logger);
  const asked = {
    text: `
      select
        (select count(*) from pg_stat_activity where query like '%as "isLeading"%' and state = 'idle') as asked,
        (select count(*) from pg_locks where locktype = 'advisory' and classid = 7003) as held`,
  };
  await vi.waitFor(
    async () => {
      expect(await database.query(asked)).toEqual([{ asked: 1n, held: 0n }]);
    },
    { timeout: 20_000 },
  );

  await database.query({ text: 'select pg_promote()' });
  const term = await leading;
  expect(term?.lost.aborted).toBe(false);
  await term?.end();
});
