import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export interface ChildOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Takes a CPU profile of the process and leaves it here. */
  readonly profileDir?: string | undefined;
}

/** Runs a program to its end; what it printed is JSON. */
export async function runChild<Result>(entry: URL, options: ChildOptions = {}): Promise<Result> {
  const { child, output } = start(entry, options);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw failure(entry, output);
  return JSON.parse(output.stdout) as Result;
}

export interface RunningChild {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts a service; it is ready when it has printed its URL. */
export async function startChild(entry: URL, options: ChildOptions = {}): Promise<RunningChild> {
  const { child, output } = start(entry, options);
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout?.on('data', () => {
      const found = /(?:http|esdb):\/\/[\w.:?=&]+/.exec(output.stdout);
      if (found !== null) resolve(found[0]);
    });
    child.once('close', () => reject(failure(entry, output)));
  });
  return {
    url,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) throw failure(entry, output);
      child.kill('SIGTERM');
      await once(child, 'close');
    },
  };
}

interface Output {
  stdout: string;
  /** The end of it. */
  stderr: string;
}

const running = new Set<ChildProcess>();
// Whatever ends the bench ends what it has started.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

function start(
  entry: URL,
  { args = [], env = {}, cwd, profileDir }: ChildOptions,
): { child: ChildProcess; output: Output } {
  const file = fileURLToPath(entry);
  const child = spawn(
    process.execPath,
    [
      ...(file.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : []),
      ...(profileDir === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profileDir]),
      file,
      ...args,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env }, cwd },
  );
  running.add(child);
  child.once('close', () => running.delete(child));
  const output: Output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr = (output.stderr + text).slice(-10_000);
  });
  return { child, output };
}

function failure(entry: URL, { stdout, stderr }: Output): Error {
  const name = path.basename(fileURLToPath(entry));
  return new Error(`${name} ended unexpectedly:\n${stderr}${stdout.slice(-2_000)}`);
}
