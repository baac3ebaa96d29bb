import { randomUUID } from 'node:crypto';
import type { LinkedDevices } from '../commands/core/command-parts.ts';
import { FoldedStates } from '../commands/core/folded-states.ts';
import { CommandHandler } from '../commands/core/handler.ts';
import { ProjectionCommands } from '../commands/projections/commands.ts';
import { ConfigError, type Config } from '../config.ts';
import { openDatabase, type Database } from '../database/database.ts';
import { openEmbeddedServer } from '../database/embedded-server/embedded-server.ts';
import { installationSecret } from '../database/installation-secret.ts';
import { migrate } from '../database/migrations.ts';
import { Presence } from '../database/presence.ts';
import { checkServer } from '../database/server-check.ts';
import { checkUrl, EventStoreUrlError } from '../event-store/eventstoredb/connection.ts';
import { openEventStoreDB } from '../event-store/eventstoredb/eventstoredb-event-store.ts';
import { fenced } from '../event-store/fenced-event-store.ts';
import { observed, type ObservedLog } from '../event-store/observed-log.ts';
import type { OpenEventStore, SnapshotStore, Write } from '../event-store/port.ts';
import { openPostgresEventStore } from '../event-store/postgres/postgres-event-store.ts';
import { openPostgresSnapshotStore } from '../event-store/postgres/postgres-snapshot-store.ts';
import { openCommands, projections, type Commands } from '../domains.ts';
import { KAFKA_ACTOR } from '../ingest/usage-intake.ts';
import { ProjectionAdministration } from '../projections/engine/administration.ts';
import type { Replay } from '../projections/engine/replaying/replays.ts';
import { ProjectionEngine } from '../projections/engine/engine.ts';
import { ReadModels } from '../projections/engine/reading/read-models.ts';
import { LinkQueries } from '../projections/tenancy/queries/links.ts';
import { createLogger, type Logger } from '../shared/logger.ts';

/** An opened ledger: the log, the write side, the read side; nothing runs yet. */
export interface Ledger {
  readonly logger: Logger;
  /** Names this process among all on the database. */
  readonly processId: string;
  readonly database: Database;
  readonly store: ObservedLog;
  readonly snapshots: SnapshotStore;
  readonly engine: ProjectionEngine;
  readonly administration: ProjectionAdministration;
  /** What secrets are derived with that the log does not hold. */
  readonly installationSecret: Buffer;
  readonly commands: Commands;
  readonly projectionCommands: ProjectionCommands<Replay>;
  readonly models: ReadModels;
  /** Rejects when this process may not append any more, and is to end. */
  readonly mayAppend: Promise<void>;
  /** The same tables, on connections that no other query takes: for authentication. */
  readonly keyModels: ReadModels;
  close(): Promise<void>;
}

/** A read that takes longer is cancelled, so that none holds a connection for long. */
const READ_TIMEOUT_MS = 15_000;

/** `role`: a service holds the data directory for itself; a tool may come beside it. */
export async function openLedger(config: Config, role: 'service' | 'tool'): Promise<Ledger> {
  const logger = createLogger(config.logLevel);
  if (role === 'service') {
    for (const name of config.unknownNames) {
      logger.warn({ name }, 'unknown setting: it has no effect');
    }
  }
  refuseBrokenUrl(config);
  /** What is to be closed, in the order in which it was opened. */
  const opened: Closeable[] = [];
  try {
    const parts = await openParts(config, role, logger, opened);
    return { ...parts, close: () => closeAll(opened) };
  } catch (error) {
    await closeAll(opened).catch(() => undefined);
    throw error;
  }
}

interface Closeable {
  close(): Promise<void>;
}

/** Closes the last that was opened first. All are closed, also when one of them fails. */
async function closeAll(opened: Closeable[]): Promise<void> {
  const last = opened.pop();
  try {
    await last?.close();
  } finally {
    if (last !== undefined) await closeAll(opened);
  }
}

async function openParts(
  config: Config,
  role: 'service' | 'tool',
  logger: Logger,
  opened: Closeable[],
): Promise<Omit<Ledger, 'close'>> {
  const processId = `${process.pid}-${randomUUID()}`;
  const { database, readers, followers } = await openDatabases(config, role, logger, opened);
  await checkServer(database);
  await migrate(database, logger);
  const secret = await installationSecret(database);
  const { store, presence } = await openStore(config, { database, followers, logger }, opened);
  const engine = new ProjectionEngine({ database, store, projections, logger, processId });
  opened.push({ close: () => engine.stop() });
  await engine.prepare();
  store.onAppended((write, position) => {
    if (!isIngested(write)) engine.freshness.appended(write, position);
  });
  const snapshots = openPostgresSnapshotStore(database, store.logId);
  let stop = (_error: Error): void => undefined;
  const wentBack = new Promise<never>((_, reject) => (stop = reject));
  const states = new FoldedStates(store, snapshots, logger, (error) => stop(error));
  const mayAppend = Promise.race([presence.ended, wentBack]);
  // A tool that never asks must not be ended by the rejection: its commands fail.
  mayAppend.catch(() => undefined);
  const handler = new CommandHandler(store, states);
  const administration = new ProjectionAdministration(database, store, projections, engine);
  const models = new ReadModels(readers, engine);
  const links = new LinkQueries(models);
  const linkedDevices: LinkedDevices = (...link) => links.devicesWith(...link);
  return {
    logger,
    processId,
    database,
    store,
    snapshots,
    engine,
    administration,
    installationSecret: secret,
    commands: openCommands({ store, handler, linkedDevices, installationSecret: secret }),
    projectionCommands: new ProjectionCommands(handler, administration),
    models,
    mayAppend,
    keyModels: new ReadModels(followers, engine),
  };
}

async function openDatabases(
  { databaseUrl, dataDir }: Config,
  role: 'service' | 'tool',
  logger: Logger,
  opened: Closeable[],
): Promise<Record<'database' | 'readers' | 'followers', Database>> {
  let url = databaseUrl;
  if (url === undefined) {
    const embedded = await openEmbeddedServer({ dataDir, logger, role });
    opened.push(embedded);
    ({ url } = embedded);
  }
  const options = { url, logger, applicationName: `fleetledger-${process.pid}` };
  const database = openDatabase({ ...options, maxConnections: 10 });
  // Reads have connections of their own: they have a time limit, and must not delay appends.
  const reading = { maxConnections: 15, statementTimeoutMs: READ_TIMEOUT_MS };
  const readers = openDatabase({ ...options, ...reading });
  // Followers of the log and key lookups must not wait behind slow queries.
  const followers = openDatabase({ ...options, maxConnections: 3 });
  opened.push(database, readers, followers);
  return { database, readers, followers };
}

async function openStore(
  config: Config,
  parts: Parameters<typeof openLog>[1],
  opened: Closeable[],
): Promise<{ readonly store: ObservedLog; readonly presence: Presence }> {
  const { database, logger } = parts;
  const log = await openLog(config, parts);
  try {
    const presence = await Presence.announce({ database, logId: log.logId, logger });
    const store = observed(fenced(log, presence));
    // The log is closed before the presence ends, since a copy of the log relies on it that nothing
    // is appended any more.
    opened.push(presence, store);
    return { store, presence };
  } catch (error) {
    await log.close().catch(() => undefined);
    throw error;
  }
}

/**
 * Whether usage came from Kafka. Reads do not wait for it as for what this process was asked to
 * write: no client knows of it yet, and every read of usage would wait for the whole topic.
 */
function isIngested({ events }: Write): boolean {
  return events.every(({ metadata }) => metadata.actor === KAFKA_ACTOR);
}

/** Before anything is started. */
function refuseBrokenUrl({ eventStoreUrl }: Config): void {
  try {
    if (eventStoreUrl !== undefined) checkUrl(eventStoreUrl);
  } catch (error) {
    if (!(error instanceof EventStoreUrlError)) throw error;
    throw new ConfigError(`EVENTSTORE_URL: ${error.message}`);
  }
}

function openLog(
  { eventStoreUrl }: Config,
  {
    database,
    followers,
    logger,
  }: { readonly database: Database; readonly followers: Database; readonly logger: Logger },
): Promise<OpenEventStore> {
  return eventStoreUrl === undefined
    ? openPostgresEventStore({ database, followers, logger })
    : openEventStoreDB({ url: eventStoreUrl, logger });
}
