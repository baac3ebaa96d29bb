import { START, streamNameFilter, type ReadPosition } from '@eventstore/db-client';
import { connect } from '../../src/event-store/eventstoredb/connection.ts';
import type { EventStoreLog } from '../event-store-server.ts';
import { bareAppend } from './bare-eventstoredb-appender.ts';
import type { Move } from './paced-appends.ts';
import type { VisibilityContestant } from './visibility-contestant.ts';

/** The limit: what the bare client appends is visible when its own subscription has given it. */
export function openBareEventStoreDBVisibility({
  connectionString,
  streamPrefix,
}: EventStoreLog): VisibilityContestant {
  const { client, close } = connect(connectionString);
  const moves: Move[] = [];
  let seen = 0;
  let isClosing = false;
  let from: ReadPosition = START;

  function follow(): void {
    let isOver = false;
    const subscription = client.subscribeToAll({
      fromPosition: from,
      filter: streamNameFilter({ prefixes: [streamPrefix] }),
    });
    subscription.on('data', ({ event }) => {
      if (isOver || event?.position === undefined) return;
      from = event.position;
      seen += 1;
      moves.push({ position: event.position.commit, atMs: performance.now() });
    });
    // A server ends the subscription of a slow reader: it is resumed, as ours is.
    subscription.on('error', () => {
      if (isOver || isClosing) return;
      isOver = true;
      follow();
    });
  }

  follow();
  return {
    append: bareAppend(client, streamPrefix),
    moves,
    async finish(appended) {
      isClosing = true;
      await close();
      if (seen !== appended) throw new Error(`${appended} events were appended, ${seen} were seen`);
    },
  };
}
