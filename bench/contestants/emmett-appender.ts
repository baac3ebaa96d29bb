import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';
import pg from 'pg';
import type { AppendLoad } from './append-load.ts';
import { appenderTo, type Appender } from './appender.ts';

/**
 * The peer: `appendToStream`, each with the exact version of its stream. Its own pool of
 * connections (10): with 20 and 64 it was slower.
 */
export async function openEmmettAppender(url: string, load: AppendLoad): Promise<Appender> {
  const store = getPostgreSQLEventStore(url);
  await store.schema.migrate();
  return appenderTo(
    {
      async append(stream, events, expectedRevision) {
        const appended = await store.appendToStream(stream, [...events], {
          expectedStreamVersion: expectedRevision ?? 'STREAM_DOES_NOT_EXIST',
        });
        return {
          revision: appended.nextExpectedStreamVersion,
          position: appended.lastEventGlobalPosition,
        };
      },
      async countStored() {
        const client = new pg.Client(url);
        await client.connect();
        const { rows } = await client.query<{ stored: string }>(
          'select count(*) as stored from emt_messages',
        );
        await client.end();
        return BigInt(rows[0]?.stored ?? 0);
      },
      close: () => store.close(),
    },
    load,
  );
}
