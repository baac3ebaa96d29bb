import type * as databaseModule from '../../src/database/database.ts';
import type * as migrationsModule from '../../src/database/migrations.ts';
import type * as eventStoreDBModule from '../../src/event-store/eventstoredb/eventstoredb-event-store.ts';
import type * as postgresModule from '../../src/event-store/postgres/postgres-event-store.ts';
import type { OpenEventStore } from '../../src/event-store/port.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { compiled } from '../build.ts';

/** One of our logs alone, without projections. */
export interface BenchLog {
  readonly store: OpenEventStore;
  /** `streams`: all that were appended to. */
  countStored(streams: readonly string[]): Promise<bigint>;
  close(): Promise<void>;
}

export async function openPostgresLog(url: string): Promise<BenchLog> {
  const { openDatabase } = await compiled<typeof databaseModule>('database/database.ts');
  const { migrate } = await compiled<typeof migrationsModule>('database/migrations.ts');
  const { openPostgresEventStore } = await compiled<typeof postgresModule>(
    'event-store/postgres/postgres-event-store.ts',
  );
  const logger = createLogger('warn');
  const database = openDatabase({ url, logger });
  await migrate(database, logger);
  const store = await openPostgresEventStore({ database, logger });
  return {
    store,
    async countStored() {
      const [row] = await database.query<{ stored: bigint }>({
        text: 'select count(*) as stored from ledger.events',
      });
      return row?.stored ?? 0n;
    },
    async close() {
      await store.close();
      await database.close();
    },
  };
}

export async function openEventStoreDBLog(url: string): Promise<BenchLog> {
  const { openEventStoreDB } = await compiled<typeof eventStoreDBModule>(
    'event-store/eventstoredb/eventstoredb-event-store.ts',
  );
  const store = await openEventStoreDB({ url, logger: createLogger('warn') });
  return {
    store,
    countStored: (streams) =>
      countByRevisions(streams, async (stream) => {
        const backwards = { direction: 'backwards', limit: 1 } as const;
        for await (const { revision } of store.readStream(stream as StreamName, backwards)) {
          return revision;
        }
        return -1n;
      }),
    close: () => store.close(),
  };
}

/** A server that holds more than one log cannot be asked how many events it has. */
export async function countByRevisions(
  streams: readonly string[],
  lastRevision: (stream: string) => Promise<bigint>,
): Promise<bigint> {
  let count = 0n;
  for (const stream of streams) count += (await lastRevision(stream)) + 1n;
  return count;
}
