import {
  BACKWARDS,
  END,
  NO_STREAM,
  jsonEvent,
  type EventStoreDBClient,
} from '@eventstore/db-client';
import { connect } from '../../src/event-store/eventstoredb/connection.ts';
import { newEventId } from '../../src/shared/ids.ts';
import type { EventStoreLog } from '../event-store-server.ts';
import type { AppendLoad } from './append-load.ts';
import { appenderTo, type Append, type Appender } from './appender.ts';
import { countByRevisions } from './bench-log.ts';

/** The limit: the client's own `appendToStream`, by its batch path, one client for all callers. */
export function openBareEventStoreDBAppender(
  { connectionString, streamPrefix }: EventStoreLog,
  load: AppendLoad,
): Appender {
  // Ours only in that it also closes the channel.
  const { client, close } = connect(connectionString);
  return appenderTo(
    {
      append: bareAppend(client, streamPrefix),
      countStored: (streams) =>
        countByRevisions(streams, async (stream) => {
          const last = client.readStream(streamPrefix + stream, {
            direction: BACKWARDS,
            fromRevision: END,
            maxCount: 1,
          });
          let revision = -1n;
          // To its end: the client waits for readings that were left when it is disposed of.
          for await (const { event } of last) revision = event?.revision ?? revision;
          return revision;
        }),
      close,
    },
    load,
  );
}

export function bareAppend(client: EventStoreDBClient, streamPrefix: string): Append {
  return async (stream, events, expectedRevision) => {
    const { nextExpectedRevision, position } = await client.appendToStream(
      streamPrefix + stream,
      events.map((event) => jsonEvent({ id: newEventId(), ...event })),
      { expectedRevision: expectedRevision ?? NO_STREAM },
    );
    if (position === undefined) throw new Error('an append was answered without its position');
    return { revision: nextExpectedRevision, position: position.commit };
  };
}
