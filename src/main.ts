import { randomUUID } from 'node:crypto';
import { Authentication } from './api/authentication.ts';
import type { HealthChecks, PartHealth } from './api/health.ts';
import { createMetrics } from './api/metrics.ts';
import { Pipeline } from './api/pipeline.ts';
import { Responder } from './api/responder.ts';
import { adminRoutes } from './api/admin/admin.ts';
import { createApp, listen, type RunningServer } from './api/server.ts';
import { stateRoutes } from './api/state/state.ts';
import { tenancyRoutes } from './api/tenancy/tenancy.ts';
import { FoldedStates } from './commands/folded-states.ts';
import { CommandHandler } from './commands/handler.ts';
import { formatApiKey, mintKey } from './commands/keys.ts';
import { IdempotentRequests } from './commands/requests.ts';
import { StateCommands } from './commands/state.ts';
import {
  INSTALLATION_PROJECT,
  installationDecider,
  installationStream,
} from './commands/tenancy.ts';
import { ConfigError, type Config } from './config.ts';
import { openDatabase, type Database } from './database/database.ts';
import { openEmbeddedServer } from './database/embedded-server/embedded-server.ts';
import { installationSecret } from './database/installation-secret.ts';
import { migrate } from './database/migrations.ts';
import { announcePresence } from './database/presence.ts';
import { checkUrl, EventStoreUrlError } from './event-store/eventstoredb/connection.ts';
import { openEventStoreDB } from './event-store/eventstoredb/eventstoredb-event-store.ts';
import type { EventStore, OpenEventStore } from './event-store/port.ts';
import { openPostgresEventStore } from './event-store/postgres/postgres-event-store.ts';
import { openPostgresSnapshotStore } from './event-store/postgres/postgres-snapshot-store.ts';
import { Positions } from './projections/engine/as-of.ts';
import {
  ProjectionAdministration,
  type ProjectionStatus,
} from './projections/engine/administration.ts';
import { ProjectionEngine } from './projections/engine/engine.ts';
import { LogReader } from './projections/engine/log-reader.ts';
import type { Projection } from './projections/engine/projection.ts';
import { ReadModels } from './projections/engine/read-model.ts';
import { stateProjection } from './projections/state/state-projection.ts';
import { StateQueries } from './projections/state/state-queries.ts';
import { KeyDirectory } from './projections/tenancy/key-directory.ts';
import { tenancyProjection } from './projections/tenancy/tenancy-projection.ts';
import { TenancyQueries } from './projections/tenancy/tenancy-queries.ts';
import { systemClock } from './shared/clock.ts';
import { randomEntropy } from './shared/ids.ts';
import { createLogger, type Logger } from './shared/logger.ts';

/** An opened ledger: the log, the write side, the read side; nothing runs yet. */
export interface Ledger {
  readonly logger: Logger;
  readonly database: Database;
  readonly store: EventStore;
  /** The same, as it was opened. */
  readonly log: OpenEventStore;
  readonly engine: ProjectionEngine;
  readonly administration: ProjectionAdministration;
  readonly handler: CommandHandler;
  readonly models: ReadModels;
  close(): Promise<void>;
}

/** The lowest version that has what is used: `nulls not distinct`, and statistics by `pg_stat_io`. */
const MIN_SERVER_VERSION = 150_000;

const PROJECTIONS: readonly Projection[] = [tenancyProjection, stateProjection];

/** `role`: a service holds the data directory for itself; a tool may come beside it. */
export async function openLedger(config: Config, role: 'service' | 'tool'): Promise<Ledger> {
  const logger = createLogger(config.logLevel);
  refuseBrokenUrl(config);
  const processId = `${process.pid}-${randomUUID()}`;
  const embedded =
    config.databaseUrl === undefined
      ? await openEmbeddedServer({ dataDir: config.dataDir, logger, role })
      : undefined;
  const url = config.databaseUrl ?? embedded?.url ?? '';
  const applicationName = `fleetledger-${process.pid}`;
  const database = openDatabase({ url, logger, applicationName, maxConnections: 10 });
  // Apart: queries that wait for a table must not take the connections of those they wait for.
  const readers = openDatabase({ url, logger, applicationName, maxConnections: 15 });
  let opened: { close(): Promise<void> } | undefined;
  let presence: { close(): Promise<void> } | undefined;
  try {
    await refuseOldServer(database);
    await migrate(database, logger);
    const log = await openLog(config, database, logger);
    opened = log;
    presence = role === 'service' ? announcePresence(database, log.logId, logger) : undefined;
    const engine = new ProjectionEngine({
      database,
      store: log,
      projections: PROJECTIONS,
      logger,
      processId,
    });
    await engine.prepare();
    const store = engine.freshness.tracking(log);
    const states = new FoldedStates(store, openPostgresSnapshotStore(database, log.logId), logger);
    return {
      logger,
      database,
      store,
      log,
      engine,
      administration: new ProjectionAdministration(database, store, PROJECTIONS, engine),
      handler: new CommandHandler(store, states),
      models: new ReadModels(readers, engine, store),
      async close() {
        await engine.stop();
        await log.close();
        // Not before: whoever copies the log takes it that nothing is written any more.
        await presence?.close();
        await readers.close();
        await database.close();
        await embedded?.close();
      },
    };
  } catch (error) {
    await opened?.close().catch(() => undefined);
    await presence?.close().catch(() => undefined);
    await readers.close().catch(() => undefined);
    await database.close().catch(() => undefined);
    await embedded?.close();
    throw error;
  }
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

function openLog(config: Config, database: Database, logger: Logger): Promise<OpenEventStore> {
  const { eventStoreUrl } = config;
  return eventStoreUrl === undefined
    ? openPostgresEventStore({ database, logger })
    : openEventStoreDB({ url: eventStoreUrl, logger });
}

export interface RunningService {
  /** Undefined when this process does not serve the API. */
  readonly server: RunningServer | undefined;
  /** Rejects when it can no longer do its work, and is to be stopped. */
  readonly running: Promise<void>;
  /** What is running finishes; then everything is closed. */
  stop(): Promise<void>;
}

export async function startService(config: Config): Promise<RunningService> {
  const ledger = await openLedger(config, 'service');
  const { logger, engine } = ledger;
  const stopping = new AbortController();
  if (config.roles.includes('projections')) engine.start();
  let api: ServedApi | undefined;
  const close = async (): Promise<void> => {
    await api?.server.drain();
    stopping.abort();
    await engine.stop();
    await ledger.close();
  };
  try {
    if (config.roles.includes('api')) {
      api = await serveApi(config, ledger, stopping.signal);
      // Last of all, so that no failure of the start comes between issuing the key and showing it.
      const isKeySet = config.adminApiKey !== undefined;
      greet(api.server, isKeySet ? undefined : await issueFirstAdminKey(ledger));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    server: api?.server,
    running: api?.following ?? Promise.resolve(),
    async stop() {
      logger.info('draining: what is running finishes');
      await close();
      logger.info('stopped');
    },
  };
}

interface ServedApi {
  readonly server: RunningServer;
  /** Rejects when keys that other processes revoke would stay valid here; ends when aborted. */
  readonly following: Promise<void>;
}

async function serveApi(config: Config, ledger: Ledger, signal: AbortSignal): Promise<ServedApi> {
  const { logger, database, log, store, engine, administration, handler, models } = ledger;
  const tenancy = new TenancyQueries(models);
  const states = new StateQueries(models);
  const positions = new Positions(store);
  const directory = new KeyDirectory(tenancy, store);
  await inheritWrites(ledger);
  engine.freshness.onAppended((write, position) => directory.appended(write, position));
  const { ended: following } = await directory.follow(signal);
  following.catch((error: unknown) => {
    logger.fatal({ err: error }, 'the key directory can no longer follow the log');
  });
  const responder = new Responder({ models, positions, logger });
  const pipeline = new Pipeline({
    authentication: new Authentication(directory, config.adminApiKey),
    requests: new IdempotentRequests(store, await installationSecret(database), systemClock),
    models,
    positions,
    responder,
    clock: systemClock,
  });
  const app = createApp({
    routes: [
      // In the order in which they are matched: what devices send comes first.
      ...stateRoutes({ commands: new StateCommands(handler, store), queries: states, positions }),
      ...tenancyRoutes({ handler, queries: tenancy, states, positions }),
      ...adminRoutes({ handler, administration, positions, log: new LogReader(store) }),
    ],
    pipeline,
    responder,
    health: healthChecks(ledger),
    metrics: createMetrics({
      projections: () => administration.statuses(),
      resumedSubscriptions: () => log.resumedSubscriptions,
    }),
    logger,
  });
  const server = await listen(app, config.host, config.port).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`PORT: ${config.port} cannot be served (${reason}): choose another one`);
  });
  logger.info({ host: server.address.address, port: server.address.port }, 'ready');
  return { server, following };
}

/** So much is made up for in the time that a read waits. */
const MAX_INHERITED_EVENTS = 10_000;

/**
 * After a kill, what was acknowledged last may not be in the read models yet: reads wait for it as for
 * what this process wrote itself. Not where that would take long, or would never come.
 */
async function inheritWrites({ engine, administration }: Ledger): Promise<void> {
  for (const { name, status, head, lagEvents } of await administration.statuses()) {
    if (status === 'live' && lagEvents <= MAX_INHERITED_EVENTS) {
      engine.freshness.inherit(name, head);
    }
  }
}

/** How far a projection may be behind before health turns red. */
const MAX_LAG_SECONDS = 10;

function healthChecks({ database, store, administration }: Ledger): HealthChecks {
  return () => {
    const statuses = administration.statuses();
    const projection = (name: string) => async () => {
      const found = (await statuses).find((candidate) => candidate.name === name);
      return found === undefined ? { status: 'ok' as const } : healthOf(found);
    };
    return {
      database: async () => {
        await database.query({ text: 'select 1' });
        return { status: 'ok' };
      },
      log: async () => {
        await store.head();
        return { status: 'ok' };
      },
      ...Object.fromEntries(
        administration.names.map((name) => [`projection:${name}`, projection(name)]),
      ),
    };
  };
}

function healthOf(projection: ProjectionStatus): PartHealth {
  const { status, generation, lagSeconds, isStalled, isBeingBuilt, lastError } = projection;
  const behind = `${Math.round(lagSeconds)} s behind`;
  if (lastError !== undefined) {
    const { eventId, message } = lastError;
    return { status: 'failing', detail: `stopped at event ${eventId}: ${message}` };
  }
  // An admin wants it so, and the rest of the service is as it should be.
  if (status === 'paused') return { status: 'ok', detail: `paused by an admin, ${behind}` };
  if (generation === 0) return { status: 'failing', detail: 'being built from this log' };
  if (isBeingBuilt) return { status: 'ok', detail: `being built for this release, ${behind}` };
  if (isStalled) return { status: 'failing', detail: `stalled, ${behind}` };
  return lagSeconds > MAX_LAG_SECONDS ? { status: 'failing', detail: behind } : { status: 'ok' };
}

async function issueFirstAdminKey({ handler }: Ledger): Promise<string | undefined> {
  const key = mintKey('adm', randomEntropy(), systemClock());
  const handled = await handler.execute(
    installationDecider,
    installationStream(),
    { type: 'issue-first-key', key: key.newKey },
    { projectId: INSTALLATION_PROJECT, actor: 'system:first-start', correlationId: randomUUID() },
  );
  return handled.outcome === 'recorded' ? formatApiKey(key.apiKey) : undefined;
}

/** On stdout, and never in the log: this is the one time that the admin key is shown. */
function greet({ address }: RunningServer, firstAdminKey: string | undefined): void {
  const host = address.address.includes(':') ? `[${address.address}]` : address.address;
  const url = `http://${host}:${address.port}`;
  const lines = [`Fleetledger is ready on ${url} (try ${url}/docs).`];
  if (firstAdminKey !== undefined) {
    lines.push(
      '',
      'This is the admin key. It is shown this once; keep it:',
      '',
      `  ${firstAdminKey}`,
      '',
      'Create a first project:',
      '',
      `  curl -X POST ${url}/api/v1/projects -H 'Authorization: Bearer ${firstAdminKey}' -H 'Content-Type: application/json' -d '{"name":"My fleet"}'`,
      '',
    );
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function refuseOldServer(database: Database): Promise<void> {
  const [row] = await database.query<{ version: number; text: string }>({
    text: `
      select
        current_setting('server_version_num')::integer as version,
        current_setting('server_version') as text`,
  });
  if (row !== undefined && row.version < MIN_SERVER_VERSION) {
    throw new Error(`PostgreSQL ${row.text} is too old: 15 or later is needed.`);
  }
}
