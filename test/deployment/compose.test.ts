import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { loadCompose, type Compose, type ComposeService } from './compose.ts';

const run = promisify(execFile);

const DEVELOPMENT = ['docker-compose.yml'];
const SECURED = [...DEVELOPMENT, 'docker-compose.secured.yml'];
const SECRETS: Readonly<Record<string, string>> = {
  EVENTSTORE_ADMIN_PASSWORD: 'the-admins',
  EVENTSTORE_OPS_PASSWORD: 'the-operators',
  POSTGRES_PASSWORD: 'the-databases',
  KAFKA_PASSWORD: 'the-producers',
};

const development = loadCompose(DEVELOPMENT, {});
const secured = loadCompose(SECURED, SECRETS);

/** The settings of the service: those of the contract. */
const SETTINGS = [
  'HOST',
  'PORT',
  'DATABASE_URL',
  'DATA_DIR',
  'EVENTSTORE_URL',
  'KAFKA_BROKERS',
  'KAFKA_USAGE_TOPIC',
  'KAFKA_GROUP_ID',
  'KAFKA_PROJECT',
  'LORAWAN_API_URL',
  'LORAWAN_API_KEY',
  'LORAWAN_TIMEOUT_MS',
  'LORAWAN_RETRY_MIN_MS',
  'LORAWAN_RETRY_MAX_MS',
  'LORAWAN_MAX_FAILURES',
  'LORAWAN_MAX_CONFLICTS',
  'ADMIN_API_KEY',
  'ROLES',
  'LOG_LEVEL',
];

function service(compose: Compose, name: string): ComposeService {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`there is no service ${name}`);
  return found;
}

function variable(compose: Compose, name: string, key: string): string {
  const value = service(compose, name).environment?.[key];
  if (value === undefined) throw new Error(`${name} has no ${key}`);
  return value;
}

interface Mount {
  readonly user: string;
  readonly volume: string;
  readonly path: string;
  readonly mode: string | undefined;
}

function mounts({ services }: Compose): Mount[] {
  return Object.entries(services).flatMap(([user, { volumes = [] }]) =>
    volumes.map((mount) => {
      const [volume = '', path = '', mode] = mount.split(':');
      return { user, volume, path, mode };
    }),
  );
}

/** The Kafka listeners as name and address, such as INSIDE and kafka:19092. */
function listeners(compose: Compose, key: string): Map<string, string> {
  const list = variable(compose, 'kafka', key).split(',');
  return new Map(list.map((item) => item.split('://') as [string, string]));
}

/** Who listens where, for other containers. */
function addresses(compose: Compose): string[] {
  return [
    'eventstore:2113',
    'postgres:5432',
    ...listeners(compose, 'KAFKA_ADVERTISED_LISTENERS').values(),
  ];
}

const runsOnce = ({ restart }: ComposeService): boolean => restart === undefined;

afterEach(() => {
  vi.unstubAllEnvs();
});

describe.each([
  { variant: 'development', compose: development },
  { variant: 'secured', compose: secured },
])('the $variant variant', ({ compose }) => {
  const services = Object.entries(compose.services);

  test.each(services)('%s is of an exact version, or built', (_name, { image, build }) => {
    if (build === undefined) expect(image).toMatch(/^[\w./-]+:\d+\.\d+(\.\d+)?(-[a-z]+)*$/);
    else expect({ image, build }).toEqual({ build: '.' });
  });

  test.each(services)(
    '%s waits until what it depends on is there',
    (_name, { depends_on = {} }) => {
      for (const [name, { condition }] of Object.entries(depends_on)) {
        expect(condition, name).toBe(
          runsOnce(service(compose, name)) ? 'service_completed_successfully' : 'service_healthy',
        );
      }
    },
  );

  test('the service waits for all others', () => {
    const others = Object.keys(compose.services).filter((name) => name !== 'fleetledger');
    expect(Object.keys(service(compose, 'fleetledger').depends_on ?? {}).toSorted()).toEqual(
      others.toSorted(),
    );
  });

  test.each(services.filter(([, entry]) => !runsOnce(entry)))(
    '%s restarts, has its time to stop, and says whether it is healthy',
    (_name, { restart, stop_grace_period, healthcheck, build }) => {
      expect(restart).toBe('unless-stopped');
      expect(stop_grace_period).toBe('1m');
      // The health check of an image of our own is in its Dockerfile.
      expect(healthcheck?.test?.[0]).toBe(build === undefined ? 'CMD' : undefined);
    },
  );

  test('every volume that is mounted is declared, and the other way round', () => {
    const used = new Set(mounts(compose).map(({ volume }) => volume));
    expect([...used].toSorted()).toEqual(Object.keys(compose.volumes).toSorted());
  });

  test('data is kept where the servers write it', () => {
    const paths = new Map(mounts(compose).map(({ volume, path }) => [volume, path]));
    expect(paths.get('eventstore-data')).toBe('/var/lib/eventstore');
    expect(paths.get('eventstore-logs')).toBe('/var/log/eventstore');
    expect(paths.get('postgres-data')).toBe('/var/lib/postgresql');
    expect(paths.get('kafka-data')).toBe(variable(compose, 'kafka', 'KAFKA_LOG_DIRS'));
    expect(service(compose, 'eventstore').environment).not.toHaveProperty('EVENTSTORE_MEM_DB');
  });

  test.each(services)('%s publishes nothing beyond this machine', (_name, { ports = [] }) => {
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
  });

  test.each(services)('%s gains no privileges, and its memory is limited', (_name, entry) => {
    expect(entry.security_opt).toContain('no-new-privileges:true');
    expect(entry.mem_limit).toMatch(/^\d+[mg]$/);
  });

  test('the service writes to no disk but for large uploads', () => {
    expect(service(compose, 'fleetledger')).toMatchObject({ read_only: true, tmpfs: ['/tmp'] });
  });

  test('PostgreSQL is healthy once it answers in the database of the service', () => {
    const check = service(compose, 'postgres').healthcheck?.test?.join(' ') ?? '';
    expect(check).toMatch(/psql --host=127\.0\.0\.1 .*--dbname="\$POSTGRES_DB" .*select 1/);
  });

  test('EventStoreDB begins with threads enough for few cores', () => {
    const threads = variable(compose, 'eventstore', 'DOTNET_ThreadPool_ForceMinWorkerThreads');
    // It is read as hexadecimal.
    expect(Number.parseInt(threads, 16)).toBe(64);
  });

  test('the service gets settings that it has', () => {
    const given = Object.keys(service(compose, 'fleetledger').environment ?? {});
    expect(SETTINGS).toEqual(expect.arrayContaining(given));
  });

  test('the service takes its settings', () => {
    const { environment = {}, ports } = service(compose, 'fleetledger');
    for (const name of SETTINGS) vi.stubEnv(name, environment[name] ?? '');
    const { host, port, databaseUrl, kafka } = loadConfig();
    expect(host).toBe('0.0.0.0');
    expect(ports).toEqual([expect.stringMatching(new RegExp(`:${port}$`))]);
    expect(databaseUrl).toBe(environment['DATABASE_URL']);
    expect(kafka).toEqual({
      cluster: { brokers: [environment['KAFKA_BROKERS']], tls: undefined, sasl: undefined },
      usageTopic: environment['KAFKA_USAGE_TOPIC'],
      groupId: 'fleetledger',
      project: 'default',
      source: '',
    });
  });

  test('an ADMIN_API_KEY of the environment is handed on, and none is made up', () => {
    expect(variable(compose, 'fleetledger', 'ADMIN_API_KEY')).toBe('');
    const given = loadCompose(DEVELOPMENT, { ADMIN_API_KEY: 'mine' });
    expect(variable(given, 'fleetledger', 'ADMIN_API_KEY')).toBe('mine');
  });

  test('the URLs of the service lead to servers that listen there', () => {
    const { host: eventStore } = new URL(variable(compose, 'fleetledger', 'EVENTSTORE_URL'));
    const { host: database } = new URL(variable(compose, 'fleetledger', 'DATABASE_URL'));
    const broker = variable(compose, 'fleetledger', 'KAFKA_BROKERS');
    expect(addresses(compose)).toEqual(expect.arrayContaining([eventStore, database, broker]));
  });

  test('the service comes to its database as the user that there is', () => {
    const { username, password, pathname } = new URL(
      variable(compose, 'fleetledger', 'DATABASE_URL'),
    );
    expect({
      POSTGRES_USER: username,
      POSTGRES_PASSWORD: password,
      POSTGRES_DB: pathname.slice(1),
    }).toEqual(service(compose, 'postgres').environment);
  });

  test('each Kafka listener has a protocol, and is found where it says it is', () => {
    const bound = listeners(compose, 'KAFKA_LISTENERS');
    const advertised = listeners(compose, 'KAFKA_ADVERTISED_LISTENERS');
    const protocols = variable(compose, 'kafka', 'KAFKA_LISTENER_SECURITY_PROTOCOL_MAP')
      .split(',')
      .map((item) => item.split(':')[0] ?? '');
    expect([...bound.keys()].toSorted()).toEqual(protocols.toSorted());
    for (const [name, address] of advertised) {
      expect(bound.get(name)).toBe(`:${address.split(':')[1]}`);
    }
    const [published = ''] = service(compose, 'kafka').ports ?? [];
    expect(`${advertised.get('HOST')}:9092`).toBe(published);
    expect(variable(compose, 'kafka', 'KAFKA_CONTROLLER_QUORUM_VOTERS')).toBe(
      `1@${bound.get('CONTROLLER')}`,
    );
  });

  test('the topics of the contract are made, and no others by mistake', () => {
    const script = service(compose, 'kafka-topics').command?.join('\n') ?? '';
    const topic = variable(compose, 'fleetledger', 'KAFKA_USAGE_TOPIC');
    const made = Array.from(script.matchAll(/^create (\S+) \d+$/gm), ([, name]) => name);
    expect(made).toEqual([topic, `${topic}.dead-letter`]);
    expect(service(compose, 'kafka-topics').image).toBe(service(compose, 'kafka').image);
    expect(variable(compose, 'kafka', 'KAFKA_AUTO_CREATE_TOPICS_ENABLE')).toBe('false');
  });

  test.each(services.filter(([, { entrypoint }]) => entrypoint?.[0] === 'bash'))(
    'the script of %s can be parsed',
    async (_name, { command = [] }) => {
      await run('bash', ['-n', '-c', ...command]);
    },
  );
});

describe('the development variant, which is insecure', () => {
  test('gives EventStoreDB no passwords, with which it would not start', () => {
    const names = Object.keys(service(development, 'eventstore').environment ?? {});
    expect(names.filter((name) => name.includes('PASSWORD'))).toEqual([]);
    expect(variable(development, 'eventstore', 'EVENTSTORE_INSECURE')).toBe('true');
  });

  test('is named apart from the secured one, whose volumes are not to be the same', () => {
    expect(secured.name).not.toBe(development.name);
  });
});

describe('the secured variant', () => {
  test.each(Object.keys(SECRETS))('does not start without %s', (name) => {
    expect(() => loadCompose(SECURED, { ...SECRETS, [name]: '' })).toThrow(
      `${name} is required: is for`,
    );
  });

  test('has no password but those it was given', () => {
    const given = Object.values(SECRETS);
    for (const { environment = {} } of Object.values(secured.services)) {
      for (const [name, value] of Object.entries(environment)) {
        if (name.endsWith('PASSWORD')) expect(given).toContain(value);
        if (name.endsWith('_URL') && value !== '') {
          expect(given).toContain(new URL(value).password);
        }
      }
    }
    const passwords = [...JSON.stringify(secured).matchAll(/PASSWORD"/g)];
    expect(passwords).toHaveLength(3);
  });

  test('EventStoreDB has TLS, and the service insists on it', () => {
    expect(variable(secured, 'eventstore', 'EVENTSTORE_INSECURE')).toBe('false');
    const url = new URL(variable(secured, 'fleetledger', 'EVENTSTORE_URL'));
    expect(url.searchParams.get('tls')).toBe('true');
    expect(url.searchParams.get('tlsCAFile')).toBe('/certificates/ca.crt');
    expect(url.searchParams.has('tlsVerifyCert')).toBe(false);
    expect([url.username, url.password]).toEqual(['admin', 'the-admins']);
    expect(service(secured, 'eventstore').healthcheck?.test).toEqual(
      expect.arrayContaining(['--cacert', 'https://localhost:2113/health/live']),
    );
  });

  test('PostgreSQL has TLS, and neither side does without', () => {
    const { searchParams } = new URL(variable(secured, 'fleetledger', 'DATABASE_URL'));
    expect(Object.fromEntries(searchParams)).toEqual({
      sslmode: 'verify-full',
      sslrootcert: '/certificates/ca.crt',
    });
    const { command, configs } = service(secured, 'postgres');
    expect(command).toContain('-cssl=on');
    expect(command).toContain(`-chba_file=${configs?.[0]?.target}`);
    const rules = secured.configs?.[configs?.[0]?.source ?? '']?.content.trim().split('\n') ?? [];
    expect(rules).toHaveLength(2);
    for (const rule of rules) expect(rule).toMatch(/^(local|hostssl) .*scram-sha-256$/);
  });

  test('Kafka asks whoever comes from outside for the password', () => {
    expect(variable(secured, 'kafka', 'KAFKA_LISTENER_SECURITY_PROTOCOL_MAP')).toContain(
      'HOST:SASL_PLAINTEXT',
    );
    expect(variable(secured, 'kafka', 'KAFKA_LISTENER_NAME_HOST_PLAIN_SASL_JAAS_CONFIG')).toMatch(
      / required user_producer="the-producers";$/,
    );
  });

  test('each server gets the certificate made for its name, and no container the key of another', () => {
    const script = service(secured, 'certificates').command?.join('\n') ?? '';
    const keys = mounts(secured).filter(({ path }) => path.startsWith('/certificates/'));
    expect(keys.map(({ path }) => path)).toEqual([
      '/certificates/eventstore',
      '/certificates/postgres',
      '/certificates/clients',
    ]);
    for (const server of ['eventstore', 'postgres'])
      expect(script).toMatch(new RegExp(` ${server}:\\d+`));
    const readers = mounts(secured).filter(({ path }) => path === '/certificates');
    expect(readers).toEqual([
      { user: 'eventstore', volume: 'eventstore-certificates', path: '/certificates', mode: 'ro' },
      { user: 'postgres', volume: 'postgres-certificates', path: '/certificates', mode: 'ro' },
      { user: 'fleetledger', volume: 'client-certificates', path: '/certificates', mode: 'ro' },
    ]);
    const authority = mounts(secured).filter(({ volume }) => volume === 'certificate-authority');
    expect(authority.map(({ user }) => user)).toEqual(['certificates']);
  });
});
