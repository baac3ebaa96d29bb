import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach } from 'vitest';
import { connectTo, type Api } from '../api/api-client.ts';
import { testEventStoreUrl } from '../event-store/test-log.ts';
import { children, dataDir, exited } from '../database/embedded-server-fixture.ts';

/**
 * Processes of the built program, over the data directory of the test. What a test starts is ended
 * after it, also when it fails.
 */
const CLI = path.resolve('dist/cli.js');
const run = promisify(execFile);
const apis: Api[] = [];

afterEach(() => {
  for (const api of apis.splice(0)) api.leave();
});

/** Nothing of the environment but the way to programs: no setting of whoever runs the tests. */
function environment(settings: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  // The databases of embedded servers are all called alike.
  const { DATABASE_URL: databaseUrl = '' } = settings;
  const isTestDatabase = databaseUrl.includes('/fleetledger_test_');
  const eventStoreUrl = testEventStoreUrl(isTestDatabase ? databaseUrl : dataDir);
  return {
    PATH: process.env['PATH'],
    DATA_DIR: dataDir,
    PORT: '0',
    // Tests send as fast as they can, with one key.
    RATE_LIMIT_PER_KEY: '1000000',
    ...(eventStoreUrl !== undefined && { EVENTSTORE_URL: eventStoreUrl }),
    ...settings,
  };
}

export interface CliProcess {
  readonly child: ChildProcess;
  /** What it has printed by now. */
  stdout(): string;
  stderr(): string;
  /** The exit code, once it has one; null when it was killed. */
  ended(): Promise<number | null>;
}

/** `fleetledger …`, to be watched while it runs. */
export function startCli(
  args: readonly string[],
  settings: Readonly<Record<string, string>> = {},
  folder = tmpdir(),
): CliProcess {
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd: folder,
    env: environment(settings),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    ended: () => exited(child),
  };
}

export interface ServiceProcess extends CliProcess {
  /** The API, once it is served. */
  serving(): Promise<Api>;
}

/** `fleetledger serve`. */
export function startServiceProcess(
  settings: Readonly<Record<string, string>> = {},
  folder = tmpdir(),
): ServiceProcess {
  const started = startCli(['serve'], settings, folder);
  const { child, stdout, stderr } = started;
  const served = new Promise<string>((resolve, reject) => {
    child.stdout?.on('data', () => {
      const url = /ready on (http:\/\/\S+) /.exec(stdout())?.[1];
      if (url !== undefined) resolve(url);
    });
    child.once('close', (code) => reject(new Error(`ended with ${code}: ${stdout()}${stderr()}`)));
  });
  // Whoever expects it to end does not ask for it.
  served.catch(() => undefined);
  return {
    ...started,
    async serving() {
      const api = await connectTo(await served);
      apis.push(api);
      return api;
    },
  };
}

/** Asks it to end, and gives its exit code. */
export function terminate(service: CliProcess): Promise<number | null> {
  service.child.kill('SIGTERM');
  return service.ended();
}

/** The key that the first start prints. */
export function printedAdminKey(service: ServiceProcess): string {
  return /fl_adm_[^\s']+/.exec(service.stdout())?.[0] ?? '';
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** `fleetledger …`, to its end. */
export async function runCli(
  args: readonly string[],
  settings: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const options = { cwd: tmpdir(), env: environment(settings) };
  try {
    return { code: 0, ...(await run(process.execPath, [CLI, ...args], options)) };
  } catch (error) {
    const { code, stdout, stderr } = error as Outcome;
    return { code, stdout, stderr };
  }
}
