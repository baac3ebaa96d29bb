import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** The built demo as a process, over a data directory of its own. */
export interface Demo {
  readonly url: string;
  readonly ownerKey: string;
  readonly adminKey: string;
  /** Without a chance to finish anything. */
  kill(): Promise<void>;
  /** Over the same data, at the same address. */
  startAgain(): Promise<void>;
  end(): Promise<void>;
}

export async function startDemo(): Promise<Demo> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fleetledger-demo-'));
  // The embedded server does not run as root, and needs to reach its data.
  await chmod(folder, 0o755);
  const env = {
    PATH: process.env['PATH'],
    DATA_DIR: path.join(folder, 'data'),
    PORT: String(await freePort()),
    RATE_LIMIT_PER_KEY: '1000000',
  };
  let child = spawnDemo(env);
  const text = await greeting(child);
  const found = (pattern: RegExp): string => pattern.exec(text)?.[1] ?? '';
  const ended = async (signal: 'SIGKILL' | 'SIGTERM'): Promise<void> => {
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  };
  return {
    url: found(/ready on (http:\S+)/),
    ownerKey: found(/(fl_mem_\w+)/),
    adminKey: found(/(fl_adm_\w+)/),
    kill: () => ended('SIGKILL'),
    async startAgain() {
      child = spawnDemo(env);
      await greeting(child);
    },
    async end() {
      if (child.exitCode === null && child.signalCode === null) await ended('SIGTERM');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function spawnDemo(env: NodeJS.ProcessEnv): ChildProcess {
  const cli = path.resolve('dist/cli.js');
  return spawn(process.execPath, [cli, 'demo'], { cwd: tmpdir(), env, stdio: 'pipe' });
}

function greeting(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stderr?.resume();
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('Ask the API')) resolve(text);
    });
    child.once('exit', (code) => reject(new Error(`the demo ended with ${code}: ${text}`)));
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
