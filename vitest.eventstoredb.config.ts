import { configFor } from './vitest.config.ts';

// The processes that run the tests, and the servers that they share, have it from here.
process.env['TEST_LOG'] = 'eventstoredb';

/** What depends on the log, with the log in EventStoreDB: at EVENTSTORE_URL, or in a stand-in. */
export default configFor({
  fast: [
    'test/commands/{handler,command-group,command-identity,folded-states}.test.ts',
    'test/commands/{message-id,requests,usage,firmware}.test.ts',
    'test/projections/{engine,freshness,lease,replays,shared-feed}.test.ts',
    'test/projections/{state,tenancy,usage}.test.ts',
    'test/reactors/**/*.test.ts',
    'test/api/{admin,bulk,state,tenancy,transfer,timeline,usage-ingestion}.test.ts',
  ],
  processes: ['test/process/{provisioning,log-cli}.test.ts'],
  slow: ['test/process/{rebuild,ingest,ingest-outage}.slow.test.ts', 'test/ingest/*.slow.test.ts'],
});
