import { parseConfig } from '../../src/config.ts';
import type * as mainModule from '../../src/service/service.ts';
import type * as groupCommitModule from '../../src/event-store/postgres/group-commit.ts';
import type { Appended, Position } from '../../src/event-store/port.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import { compiled } from '../build.ts';

/**
 * The limit: our very service, from `startService` on, whose log accepts patches and reports at
 * once and stores nothing, so that its projections have nothing to do. Where the log starts to cost
 * is cut off, so that everything before it is the same code and not a second composition of it.
 * What is neither (the project, its keys) is stored.
 */
const { GroupCommit } = await compiled<typeof groupCommitModule>(
  'event-store/postgres/group-commit.ts',
);
const { startService } = await compiled<typeof mainModule>('service/service.ts');

const revisions = new Map<StreamName, bigint>();
let position = 1_000_000n;
// oxlint-disable-next-line typescript/unbound-method -- called on its own object below
const store = GroupCommit.prototype.append;
GroupCommit.prototype.append = function append(writes) {
  const isLoad = writes.every(({ stream }) => /^(sensor|firmware)-/.test(stream));
  if (!isLoad) return store.call(this, writes);
  const answers: Appended[] = [];
  for (const { stream, events } of writes) {
    const revision = (revisions.get(stream) ?? -1n) + BigInt(events.length);
    revisions.set(stream, revision);
    position += BigInt(events.length);
    answers.push({ outcome: 'appended', revision, position: position as Position });
  }
  return Promise.resolve(answers);
};

const [databaseUrl, adminApiKey] = process.argv.slice(2);
const service = await startService({
  ...parseConfig({ RATE_LIMIT_PER_KEY: '1000000' }),
  port: 0,
  databaseUrl,
  eventStoreUrl: undefined,
  dataDir: '',
  adminApiKey,
  roles: ['api', 'projections', 'provisioning', 'ingest'],
  logLevel: 'info',
});
process.once('SIGTERM', () => {
  void service.stop().then(() => process.exit(0));
});
