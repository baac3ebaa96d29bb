import { randomBytes } from 'node:crypto';
import { openEventStoreDB } from '../../src/event-store/eventstoredb/eventstoredb-event-store.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { eventStoreAppendContract, eventStoreContract, type SetUp } from './contract.ts';
import { EventStoreStandIn, type StandInOptions } from './eventstoredb/stand-in.ts';

const logger = createLogger('silent');

/**
 * Against any server, in streams of the run's own; without one, against the stand-in and its
 * faults.
 */
eventStoreContract('EventStoreDB', () => setUp());

/** As a server does, it refuses an append before the events that came first can be read. */
eventStoreAppendContract('EventStoreDB whose refusals come early', () =>
  setUp({ showsAfterMs: 20, dropTimeoutMs: 500 }),
);

async function setUp(options?: StandInOptions): ReturnType<SetUp> {
  const given = process.env['EVENTSTORE_URL'];
  const standIn = given ? undefined : await EventStoreStandIn.start(options);
  const server = given ?? standIn?.connectionString ?? '';
  const prefix = `contract${randomBytes(6).toString('hex')}.`;
  const url = `${server}${server.includes('?') ? '&' : '?'}streamPrefix=${prefix}`;

  return {
    async open() {
      const store = await openEventStoreDB({ url, logger, categories: ['contract'] });
      return { store, close: () => store.close() };
    },
    ...(standIn && {
      faults: {
        async cutConnections() {
          standIn.cutConnections();
        },
        async restartServer() {
          await standIn.kill();
          await standIn.restart();
        },
      },
    }),
    tearDown: async () => standIn?.close(),
  };
}
