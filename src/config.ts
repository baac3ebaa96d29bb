import { config as readDotenv } from 'dotenv';
import { z } from 'zod';

const ROLES = ['api', 'projections', 'provisioning', 'ingest'] as const;
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

const environment = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: z.coerce
    .number('must be a port, 0 to 65535')
    .int('must be a port, 0 to 65535')
    .min(0, 'must be a port, 0 to 65535')
    .max(65_535, 'must be a port, 0 to 65535')
    .default(8080),
  DATABASE_URL: url('postgres', 'postgresql').optional(),
  // Of one node, or of several with commas between them: more than URL.canParse takes.
  EVENTSTORE_URL: z
    .string()
    .regex(/^esdb(\+discover)?:\/\/[^/?#\s]+/, 'must be a URL of the form esdb://…')
    .optional(),
  DATA_DIR: z.string().default('.fleetledger'),
  ADMIN_API_KEY: z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')
    .optional(),
  ROLES: rolesField,
  LOG_LEVEL: z
    .enum(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'must be one of trace, debug, info, warn, error, fatal, silent',
    )
    .default('info'),
});

export interface Config {
  readonly host: string;
  readonly port: number;
  /** Undefined: the embedded server below `dataDir`. */
  readonly databaseUrl: string | undefined;
  /** Undefined: the log is in the database, too. */
  readonly eventStoreUrl: string | undefined;
  readonly dataDir: string;
  readonly adminApiKey: string | undefined;
  readonly roles: readonly ProcessRole[];
  readonly logLevel: string;
}

/** Settings that cannot be used: one line for each mistake. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** The settings from the environment, over those of a `.env` file in the working directory. */
export function loadConfig(): Config {
  const fromFile: Record<string, string> = {};
  readDotenv({ processEnv: fromFile, quiet: true });
  return parseConfig({ ...fromFile, ...process.env });
}

/** @throws ConfigError */
function parseConfig(variables: Readonly<Record<string, string | undefined>>): Config {
  // A variable that is set to nothing is not set.
  const set = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ''));
  const result = environment.safeParse(set);
  if (!result.success) {
    const lines = result.error.issues.map(({ path, message }) => `${String(path[0])}: ${message}`);
    throw new ConfigError([...new Set(lines)].join('\n'));
  }
  const settings = result.data;
  return {
    host: settings.HOST,
    port: settings.PORT,
    databaseUrl: settings.DATABASE_URL,
    eventStoreUrl: settings.EVENTSTORE_URL,
    dataDir: settings.DATA_DIR,
    adminApiKey: settings.ADMIN_API_KEY,
    roles: settings.ROLES,
    logLevel: settings.LOG_LEVEL,
  };
}
