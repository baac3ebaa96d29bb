import { configFor } from './vitest.config.ts';

// The processes that run the tests, and the servers that they share, have it from here.
process.env['TEST_LOG'] = 'eventstoredb';

/** What depends on the log, with the log in EventStoreDB: at EVENTSTORE_URL, or in stand-ins. */
export default configFor({
  fast: [
    'test/commands/core/*.test.ts',
    'test/commands/{firmware,usage}/commands.test.ts',
    'test/commands/state/message-id.test.ts',
    'test/projections/{engine,freshness,lease,replays}.test.ts',
    'test/projections/{state,tenancy,usage}.test.ts',
    'test/reactors/**/*.test.ts',
    'test/event-store/shared-feed.test.ts',
    'test/followers/*.test.ts',
    'test/followers/webhooks/deliverer.test.ts',
    'test/api/{admin,as-of,bulk,events,keys,state,tenancy,transfer,timeline,webhooks}.test.ts',
  ],
  processes: ['test/process/log-cli.test.ts'],
  slow: [
    'test/process/{followers,rebuild,ingest,webhooks}.slow.test.ts',
    'test/ingest/usage-ingest.slow.test.ts',
  ],
});
