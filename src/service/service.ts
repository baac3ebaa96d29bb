import { randomUUID } from 'node:crypto';
import { Authentication } from '../api/authentication.ts';
import { EventAnswers } from '../api/events/event-answers.ts';
import { eventRoutes } from '../api/events/events.ts';
import { Pipeline } from '../api/pipeline.ts';
import { RateLimits } from '../api/rate-limits.ts';
import { Responder } from '../api/responder.ts';
import { adminRoutes } from '../api/admin/admin.ts';
import { createApp, listen, type RunningServer } from '../api/server.ts';
import { DeviceSightings } from '../commands/tenancy/device-sightings.ts';
import { formatApiKey, mintKey } from '../commands/tenancy/api-keys.ts';
import { IdempotentRequests } from '../commands/core/idempotent-requests.ts';
import { INSTALLATION_PROJECT } from '../event-store/stream-name.ts';
import { ConfigError, type Config } from '../config.ts';
import { domainRoutes } from '../domains.ts';
import { WebhookDeliveries } from '../followers/webhooks/deliveries.ts';
import type { WebhookDeliverer } from '../followers/webhooks/deliverer.ts';
import type { UsageIngest } from '../ingest/usage-ingest.ts';
import { providerAddress } from '../lorawan/http-provider.ts';
import { openFollowing, type Following } from './following.ts';
import { openIngest } from './ingest.ts';
import { openLedger, type Ledger } from './ledger.ts';
import { refuseShorterLog } from './log-end.ts';
import { operationsOf, serveOperations, type Operations } from './operations.ts';
import { openProvisioning, type OpenProvisioning } from './provisioning.ts';
import { openWebhooks } from './webhooks.ts';
import { Positions } from '../event-store/positions.ts';
import { LogReader } from '../event-store/log-reader.ts';
import { KeyQueries } from '../projections/tenancy/queries/key-holders.ts';
import { KeyDirectory } from '../projections/tenancy/key-directory/key-directory.ts';
import { systemClock } from '../shared/clock.ts';
import { randomEntropy } from '../shared/ids.ts';
import { errorMessage } from '../shared/errors.ts';

export interface RunningService {
  /** Undefined when this process does not serve the API. */
  readonly server: RunningServer | undefined;
  /** Rejects when it can no longer do its work, and is to be stopped. */
  readonly running: Promise<void>;
  /** What is running finishes; then everything is closed. */
  stop(): Promise<void>;
}

/** `prepare` is run on the opened ledger, before anything else. */
export async function startService(
  config: Config,
  prepare: (ledger: Ledger) => Promise<void> = () => Promise.resolve(),
): Promise<RunningService> {
  const ledger = await openLedger(config, 'service');
  const { logger, engine } = ledger;
  const draining = new AbortController();
  const stopping = new AbortController();
  let provisioning: OpenProvisioning | undefined;
  let ingest: UsageIngest | undefined;
  let webhooks: WebhookDeliverer | undefined;
  let api: ServedApi | undefined;
  let withoutApi: RunningServer | undefined;
  const close = async (): Promise<void> => {
    draining.abort();
    const server = api?.server ?? withoutApi;
    await Promise.all([server?.drain(), provisioning?.stop(), ingest?.stop(), webhooks?.stop()]);
    stopping.abort();
    await engine.stop();
    await ledger.close();
  };
  try {
    await refuseShorterLog(ledger);
    await prepare(ledger);
    if (config.roles.includes('projections')) engine.start();
    provisioning = startProvisioning(config, ledger);
    ingest = startIngest(config, ledger);
    const following = openFollowing(ledger, draining.signal);
    webhooks = startWebhooks(config, ledger, following);
    const workers = { provisioning, ingest, webhooks };
    const operations = operationsOf(config, ledger, workers, following);
    if (config.roles.includes('api')) {
      api = await serveApi(config, ledger, {
        draining: draining.signal,
        stopping: stopping.signal,
        operations,
        following,
      });
      // Last of all, so that no failure of the start comes between issuing the key and showing it.
      const isKeySet = config.adminApiKey !== undefined;
      greet(api.server, isKeySet ? undefined : await issueFirstAdminKey(ledger));
    } else {
      withoutApi = await serveOperations(config, ledger, operations);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    server: api?.server,
    running: Promise.all([api?.following, appending(ledger)]).then(() => undefined),
    async stop() {
      logger.info('draining: running requests finish');
      await close();
      logger.info('stopped');
    },
  };
}

function appending({ mayAppend: ended, logger }: Ledger): Promise<void> {
  return ended.catch((error: unknown) => {
    logger.fatal({ err: error }, 'this process may not append any more: ending');
    throw error;
  });
}

function startProvisioning(config: Config, ledger: Ledger): OpenProvisioning | undefined {
  const { roles, lorawanApiUrl: url, lorawan } = config;
  if (url === undefined || !roles.includes('provisioning')) return undefined;
  const provisioning = openProvisioning(ledger, { url, ...lorawan });
  provisioning.start();
  return provisioning;
}

function startIngest({ roles, kafka }: Config, ledger: Ledger): UsageIngest | undefined {
  if (kafka === undefined || !roles.includes('ingest')) return undefined;
  const ingest = openIngest(ledger, kafka);
  ingest.start();
  return ingest;
}

function startWebhooks(
  config: Config,
  ledger: Ledger,
  following: Following,
): WebhookDeliverer | undefined {
  if (!config.roles.includes('webhooks')) return undefined;
  const webhooks = openWebhooks(config, ledger, following);
  webhooks.start();
  return webhooks;
}

interface ServedApi {
  readonly server: RunningServer;
  /** Rejects when keys that other processes revoke would stay valid here; ends when aborted. */
  readonly following: Promise<void>;
}

async function serveApi(
  config: Config,
  ledger: Ledger,
  {
    draining,
    stopping,
    operations,
    following: { followers, streams },
  }: {
    readonly draining: AbortSignal;
    readonly stopping: AbortSignal;
    readonly operations: Operations;
    readonly following: Following;
  },
): Promise<ServedApi> {
  const { logger, store } = ledger;
  const directory = new KeyDirectory(new KeyQueries(ledger.keyModels), store);
  await inheritWrites(ledger);
  store.onAppended((write, position) => directory.appended(write, position));
  const sightings = new DeviceSightings(store, systemClock, logger);
  store.onAppended((write) => sightings.appended(write));
  const { ended } = await directory.follow(stopping);
  ended.catch((error: unknown) => {
    logger.fatal({ err: error }, 'the key directory cannot follow the log');
  });
  const app = await appOf(config, ledger, {
    draining,
    operations,
    followers,
    streams,
    directory,
    sightings,
  });
  const server = await listen(app, config.host, config.port).catch((error: unknown) => {
    throw new ConfigError(listenFailure(config, error));
  });
  logger.info({ host: server.address.address, port: server.address.port }, 'ready');
  return { server, following: ended };
}

interface AppParts extends Pick<Following, 'followers' | 'streams'> {
  readonly draining: AbortSignal;
  readonly operations: Operations;
  readonly directory: KeyDirectory;
  readonly sightings: DeviceSightings;
}

async function appOf(
  config: Config,
  ledger: Ledger,
  { draining, operations, followers, streams, directory, sightings }: AppParts,
): Promise<ReturnType<typeof createApp>> {
  const { lorawanApiUrl } = config;
  const { logger, database, store, administration, commands, models } = ledger;
  const positions = new Positions(store);
  const responder = new Responder({ models, positions, logger });
  const limits = new RateLimits(config.rateLimits);
  const authentication = new Authentication(directory, limits, config.adminApiKey);
  const eventParts = { followers, streams, authentication, positions };
  const pipeline = new Pipeline({
    authentication,
    limits,
    requests: new IdempotentRequests(store, ledger.installationSecret, systemClock),
    models,
    positions,
    responder,
    clock: systemClock,
    sightings,
    eventAnswers: new EventAnswers({ ...eventParts, responder }),
  });
  return createApp({
    routes: [
      ...(await domainRoutes(commands, {
        models,
        positions,
        directory,
        provider: lorawanApiUrl === undefined ? undefined : providerAddress(lorawanApiUrl),
        deliveries: new WebhookDeliveries(database, store.logId),
        arePrivateWebhooksAllowed: config.arePrivateWebhooksAllowed,
        draining,
      })),
      ...eventRoutes(eventParts),
      ...adminRoutes({
        projections: ledger.projectionCommands,
        administration,
        positions,
        log: new LogReader(store),
      }),
    ],
    pipeline,
    responder,
    ...operations,
    logger,
    corsOrigins: config.corsOrigins,
    trustedProxies: config.trustedProxies,
  });
}

function listenFailure({ host, port }: Config, error: unknown): string {
  const reason = errorMessage(error);
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  // The port is in use, or not for this user; anything else is about the address.
  return code === 'EADDRINUSE' || code === 'EACCES'
    ? `PORT: ${port} cannot be served (${reason}): choose another one`
    : `HOST: ${JSON.stringify(host)} cannot be served (${reason}): give an address of this machine`;
}

/** The number of events that a read model applies within the time that a read waits. */
const MAX_INHERITED_EVENTS = 10_000;

/**
 * After a kill, the read models may lack what was acknowledged last: reads wait for it as for this
 * process's own writes, unless that would take long or never end.
 */
async function inheritWrites({ engine, administration }: Ledger): Promise<void> {
  for (const { name, status, head, lagEvents } of await administration.statuses()) {
    if (status === 'live' && lagEvents <= MAX_INHERITED_EVENTS) {
      engine.freshness.inherit(name, head);
    }
  }
}

async function issueFirstAdminKey({ commands }: Ledger): Promise<string | undefined> {
  const key = mintKey('adm', randomEntropy(), systemClock());
  const { outcome } = await commands.tenancy.issueFirstAdminKey(key.newKey, {
    projectId: INSTALLATION_PROJECT,
    actor: 'system:first-start',
    correlationId: randomUUID(),
  });
  return outcome === 'recorded' ? formatApiKey(key.apiKey) : undefined;
}

/** On stdout, and never in the log: this is the one time that the admin key is shown. */
function greet({ url }: RunningServer, firstAdminKey: string | undefined): void {
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
      `  curl -X POST ${url}/api/v1/projects -H 'Authorization: Bearer ${firstAdminKey}' -H ` +
        `'Content-Type: application/json' -d '{"name":"My fleet"}'`,
      '',
    );
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}
