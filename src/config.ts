import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { parse as parseDotenv } from 'dotenv';
import { z } from 'zod';
import { kafkaCluster, SASL_MECHANISMS } from './config/kafka-cluster.ts';
import type { KafkaCluster } from './ingest/kafka/client.ts';
import { errorMessage } from './shared/errors.ts';
import { PROJECT_ID, PROJECT_ID_RULE } from './shared/ids.ts';

const ROLES = ['api', 'projections', 'provisioning', 'ingest', 'webhooks'] as const;
type ProcessRole = (typeof ROLES)[number];

const rolesField = z
  .string()
  .default(ROLES.join(','))
  .transform((text) => text.split(',').map((role) => role.trim()))
  .pipe(
    z
      .array(z.enum(ROLES, `must be one or more of ${ROLES.join(', ')}, separated by commas`))
      .min(1),
  );

function url(...schemes: readonly string[]): z.ZodType<string> {
  return z
    .string()
    .refine(
      (text) => URL.canParse(text) && schemes.includes(new URL(text).protocol.slice(0, -1)),
      `must be a URL of the form ${schemes[0]}://…`,
    );
}

function wholeNumber(
  min: number,
  max: number,
  byDefault: number,
): z.ZodDefault<z.ZodCoercedNumber> {
  const message = `must be a whole number, ${min} to ${max}`;
  return z.coerce
    .number(message)
    .int(message)
    .min(min, message)
    .max(max, message)
    .default(byDefault);
}

/**
 * The addresses in `host:port`, or in several with commas between them; undefined for any other
 * text.
 */
export function parseBrokers(text: string): readonly string[] | undefined {
  const brokers = text.split(',').map((broker) => broker.trim());
  return brokers.every(isHostAndPort) ? brokers : undefined;
}

function isHostAndPort(text: string): boolean {
  const port = /^[A-Za-z0-9._-]+:(\d{1,5})$/.exec(text)?.[1];
  return port !== undefined && Number(port) >= 1 && Number(port) <= 65_535;
}

const brokersField = z
  .string()
  .refine(
    (text) => parseBrokers(text) !== undefined,
    'must be host:port, or several with commas between them',
  )
  .transform((text) => parseBrokers(text) ?? []);

/** Several values with commas between them; none without the setting. */
function listOf(isValid: (text: string) => boolean, rule: string) {
  return z
    .string()
    .default('')
    .transform((text) => text.split(',').map((one) => one.trim()))
    .transform((all) => all.filter((one) => one !== ''))
    .refine((all) => all.every(isValid), rule);
}

/** An origin as browsers send it: scheme, host and port, without a path. */
function isOrigin(text: string): boolean {
  if (text === '*') return true;
  if (!URL.canParse(text)) return false;
  const { protocol, origin } = new URL(text);
  return /^https?:$/.test(protocol) && origin === text;
}

/** The names are those of Express for the addresses that are never public. */
function isNetwork(text: string): boolean {
  if (['loopback', 'linklocal', 'uniquelocal'].includes(text)) return true;
  const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const longest = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  return Number(bits ?? 0) <= longest;
}

/** Shorter ones can be guessed, and this key may do everything. */
const MIN_ADMIN_KEY = 16;

/**
 * The limit per minute is more than people mistype behind one address, and far too few to guess a
 * key.
 */
const FAILURES_PER_ADDRESS = 300;

const environment = z.object({
  HOST: z
    .string()
    .regex(/^[^\s/]+$/, 'must be an address or the name of this machine')
    .default('127.0.0.1'),
  PORT: wholeNumber(0, 65_535, 8080),
  DATABASE_URL: url('postgres', 'postgresql').optional(),
  // The URL names one node, or several with commas between them, which URL.canParse refuses.
  EVENTSTORE_URL: z
    .string()
    .regex(/^esdb(\+discover)?:\/\/[^/?#\s]+/, 'must be a URL of the form esdb://…')
    .optional(),
  KAFKA_BROKERS: brokersField.optional(),
  // Brokers take 249 characters, and the topic of the dead letters has 12 more.
  KAFKA_USAGE_TOPIC: z
    .string()
    .regex(/^(?!\.\.?$)[A-Za-z0-9._-]{1,237}$/, 'must be 1 to 237 of A-Z, a-z, 0-9, ., _ and -')
    .default('usage'),
  KAFKA_GROUP_ID: z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/, 'must be 1 to 255 of printable ASCII without spaces')
    .default('fleetledger'),
  KAFKA_PROJECT: z.string().regex(PROJECT_ID, PROJECT_ID_RULE).default('default'),
  KAFKA_SSL: z.enum(['true', 'false'], 'must be true or false').optional(),
  KAFKA_SSL_CA_FILE: z.string().optional(),
  KAFKA_SSL_CERT_FILE: z.string().optional(),
  KAFKA_SSL_KEY_FILE: z.string().optional(),
  KAFKA_SASL_MECHANISM: z
    .enum(SASL_MECHANISMS, `must be one of ${SASL_MECHANISMS.join(', ')}`)
    .optional(),
  KAFKA_SASL_USERNAME: z.string().optional(),
  KAFKA_SASL_PASSWORD: z.string().optional(),
  KAFKA_SOURCE: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, 'must be 1 to 64 of A-Z, a-z, 0-9, ., _ and -')
    .optional(),
  LORAWAN_API_URL: url('http', 'https').optional(),
  LORAWAN_API_KEY: z
    .string()
    .regex(/^[\x20-\x7e]+$/, 'must be printable ASCII')
    .optional(),
  LORAWAN_TIMEOUT_MS: wholeNumber(100, 600_000, 15_000),
  LORAWAN_RETRY_MIN_MS: wholeNumber(1, 600_000, 250),
  LORAWAN_RETRY_MAX_MS: wholeNumber(1, 600_000, 10_000),
  LORAWAN_MAX_FAILURES: wholeNumber(1, 1_000, 8),
  LORAWAN_MAX_CONFLICTS: wholeNumber(1, 1_000_000, 50),
  DATA_DIR: z.string().default('.fleetledger'),
  ADMIN_API_KEY: z
    .string()
    .regex(
      new RegExp(`^[\\x21-\\x7e]{${MIN_ADMIN_KEY},}$`),
      `must be ${MIN_ADMIN_KEY} characters or more of printable ASCII without spaces, for ` +
        'example what openssl rand -hex 32 prints',
    )
    .optional(),
  WEBHOOKS_ALLOW_PRIVATE: z
    .enum(['true', 'false'], 'must be true or false')
    .default('false')
    .transform((text) => text === 'true'),
  RATE_LIMIT_PER_KEY: wholeNumber(1, 1_000_000, 1_000),
  CORS_ORIGINS: listOf(isOrigin, 'must be origins such as https://app.example.com, or *'),
  TRUST_PROXY: listOf(
    isNetwork,
    'must be addresses or networks such as 10.0.0.0/8, or loopback, linklocal, uniquelocal',
  ),
  ROLES: rolesField,
  LOG_LEVEL: z
    .enum(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'must be one of trace, debug, info, warn, error, fatal, silent',
    )
    .default('info'),
});

/** What may also come from a file: `<NAME>_FILE` names it, and its text is the value. */
const SECRETS = [
  'ADMIN_API_KEY',
  'DATABASE_URL',
  'EVENTSTORE_URL',
  'KAFKA_SASL_PASSWORD',
  'LORAWAN_API_KEY',
] as const;

function withSecretFiles(variables: Readonly<Record<string, string | undefined>>): {
  readonly values: Readonly<Record<string, string>>;
  readonly mistakes: readonly string[];
} {
  const values: Record<string, string> = {};
  for (const [name, value = ''] of Object.entries(variables)) {
    // A carriage return is what a file from Windows leaves behind. Set to nothing is not set.
    if (value.trim() !== '') values[name] = value.trim();
  }
  const mistakes: string[] = [];
  for (const name of SECRETS) {
    const file = values[`${name}_FILE`];
    if (file === undefined) continue;
    if (values[name] !== undefined) {
      mistakes.push(`${name}_FILE: ${name} is set, too: keep one of them`);
      continue;
    }
    try {
      values[name] = readFileSync(file, 'utf8').trim();
      if (values[name] === '') mistakes.push(`${name}_FILE: ${file} is empty`);
    } catch (error) {
      const reason = errorMessage(error);
      mistakes.push(`${name}_FILE: it cannot be read (${reason})`);
    }
  }
  return { values, mistakes };
}

const KNOWN_NAMES = new Set([
  ...Object.keys(environment.shape),
  ...SECRETS.map((name) => `${name}_FILE`),
]);
const PREFIX = /^(FLEETLEDGER|KAFKA|LORAWAN|EVENTSTORE|RATE_LIMIT|CORS|WEBHOOKS)_/;

function isUnknownSetting(name: string): boolean {
  return PREFIX.test(name) && !KNOWN_NAMES.has(name);
}

export interface Config {
  readonly host: string;
  readonly port: number;
  /** Undefined: the embedded server below `dataDir`. */
  readonly databaseUrl: string | undefined;
  /** Undefined: the log is in the database, too. */
  readonly eventStoreUrl: string | undefined;
  /** Undefined: no usage is taken from Kafka. */
  readonly kafka: KafkaSettings | undefined;
  /** Undefined: batches of DevEUIs are refused. */
  readonly lorawanApiUrl: string | undefined;
  readonly lorawan: LorawanSettings;
  readonly dataDir: string;
  readonly adminApiKey: string | undefined;
  readonly rateLimits: RateLimitSettings;
  /** The origins of pages that browsers let call the API; `*`: of all. */
  readonly corsOrigins: readonly string[];
  /** The proxies that are believed where a request comes from: addresses or networks. */
  readonly trustedProxies: readonly string[];
  readonly roles: readonly ProcessRole[];
  /** Whether webhooks may be sent to addresses that are not public. */
  readonly arePrivateWebhooksAllowed: boolean;
  readonly logLevel: string;
  /** Variables that look like settings and are none: misspelt, or of another release. */
  readonly unknownNames: readonly string[];
}

/** Requests beyond these are answered 429. */
interface RateLimitSettings {
  /** Requests of one key in a second. */
  readonly perKey: number;
  /** Requests of one address in a minute whose key is missing or not valid. */
  readonly failuresPerAddress: number;
}

/** Which topic usage comes from, and which project it belongs to. */
export interface KafkaSettings {
  readonly cluster: KafkaCluster;
  readonly usageTopic: string;
  readonly groupId: string;
  readonly project: string;
  /** Part of the names of records without ids; '' unless a topic was recreated or moved. */
  readonly source: string;
}

/** How the LoRaWAN provider is asked, whichever it is. */
export interface LorawanSettings {
  readonly apiKey: string | undefined;
  /** How long one request may take. */
  readonly timeoutMs: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** A batch fails after so many failures of one DevEUI in a row without an answer to any other. */
  readonly maxFailures: number;
  /** A batch fails after so many DevEUIs in a row that are in use, without one registered. */
  readonly maxConflicts: number;
}

/** Settings that cannot be used: one line for each mistake. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/**
 * The settings from the environment, over those of a `.env` file in the working directory.
 * `options` are variables that the command line gives, over both.
 * @throws ConfigError
 */
export function loadConfig(options: Readonly<Record<string, string>> = {}): Config {
  return parseConfig({ ...variablesOf(dotenvText()), ...process.env, ...options });
}

function dotenvText(): string {
  try {
    return readFileSync('.env', 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw new ConfigError(`.env: ${errorMessage(error)}`);
  }
}

/**
 * The variables of a `.env` file. An unquoted value ends at a `#` only after a blank, as for Docker
 * and the shell: dotenv ends it at any `#`, and would silently cut passwords short.
 */
export function variablesOf(text: string): Record<string, string> {
  const withHashes = /^(\s*(?:export\s+)?[\w.-]+\s*=[^\S\n]*)(?=[^\s'"`#])([^\n]*?\S#[^\n]*)$/gm;
  const quoted = text
    .replaceAll(/\r\n?/g, '\n')
    .replaceAll(withHashes, (line, start: string, rest: string) => {
      const value = rest.replace(/\s+#.*$/, '').trimEnd();
      const quote = ["'", '`', '"'].find((candidate) => !value.includes(candidate));
      return quote === undefined ? line : `${start}${quote}${value}${quote}`;
    });
  return parseDotenv(quoted);
}

/**
 * The settings that variables give; those that they leave out have their defaults.
 * @throws ConfigError
 */
export function parseConfig(variables: Readonly<Record<string, string | undefined>>): Config {
  const { values, mistakes } = withSecretFiles(variables);
  const result = environment.safeParse(values);
  if (!result.success || mistakes.length > 0) {
    const issues = result.error?.issues ?? [];
    const lines = issues.map(({ path, message }) => `${String(path[0])}: ${message}`);
    throw new ConfigError([...new Set([...mistakes, ...lines])].join('\n'));
  }
  const settings = result.data;
  if (settings.LORAWAN_RETRY_MIN_MS > settings.LORAWAN_RETRY_MAX_MS) {
    throw new ConfigError('LORAWAN_RETRY_MAX_MS: must not be below LORAWAN_RETRY_MIN_MS');
  }
  const cluster = kafkaCluster(settings, (mistake) => {
    throw new ConfigError(mistake);
  });
  return {
    host: settings.HOST,
    port: settings.PORT,
    databaseUrl: settings.DATABASE_URL,
    eventStoreUrl: settings.EVENTSTORE_URL,
    kafka: cluster && {
      cluster,
      usageTopic: settings.KAFKA_USAGE_TOPIC,
      groupId: settings.KAFKA_GROUP_ID,
      project: settings.KAFKA_PROJECT,
      source: settings.KAFKA_SOURCE ?? '',
    },
    lorawanApiUrl: settings.LORAWAN_API_URL,
    lorawan: {
      apiKey: settings.LORAWAN_API_KEY,
      timeoutMs: settings.LORAWAN_TIMEOUT_MS,
      retryMinMs: settings.LORAWAN_RETRY_MIN_MS,
      retryMaxMs: settings.LORAWAN_RETRY_MAX_MS,
      maxFailures: settings.LORAWAN_MAX_FAILURES,
      maxConflicts: settings.LORAWAN_MAX_CONFLICTS,
    },
    dataDir: settings.DATA_DIR,
    adminApiKey: settings.ADMIN_API_KEY,
    rateLimits: {
      perKey: settings.RATE_LIMIT_PER_KEY,
      failuresPerAddress: FAILURES_PER_ADDRESS,
    },
    corsOrigins: settings.CORS_ORIGINS,
    trustedProxies: settings.TRUST_PROXY,
    roles: settings.ROLES,
    arePrivateWebhooksAllowed: settings.WEBHOOKS_ALLOW_PRIVATE,
    logLevel: settings.LOG_LEVEL,
    unknownNames: Object.keys(values).filter(isUnknownSetting),
  };
}
