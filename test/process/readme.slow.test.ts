// @module-tag slow
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PROJECTION_NAMES } from '../projections/projection-versions.ts';
import { startStandInProcess } from '../event-store/eventstoredb/stand-in-child.ts';

const run = promisify(execFile);
/** Without the user's own settings, which have something to say of their own. */
const BASH = ['--norc', '-euo', 'pipefail'];

let dataDir: string;
let service: ChildProcess;
let printed = '';
/** What the first steps leave in the shell of the reader. */
let variables: Readonly<Record<string, string>> = {};

beforeAll(async () => {
  dataDir = await mkdtemp(path.join(tmpdir(), 'fleetledger-readme-'));
});

/** The blocks of code of a document, in a language. */
async function blocksOf(file: string, language: string): Promise<string[]> {
  const blocks = (await readFile(file, 'utf8')).matchAll(/^```(\w+)\n(.*?)^```$/gms);
  return [...blocks].filter(([, name]) => name === language).map(([, , text = '']) => text.trim());
}

async function commandsOf(guide: string): Promise<string> {
  const [commands] = await blocksOf(`docs/guides/${guide}.md`, 'sh');
  return commands ?? '';
}

/** Runs commands as a reader does, beside the service. */
function inShell(
  commands: string,
  flags = '-c',
  cwd = process.cwd(),
): Promise<{ stdout: string; stderr: string }> {
  const settings = { DATA_DIR: dataDir, DATABASE_URL: '', EVENTSTORE_URL: '' };
  const env = { ...process.env, ...settings, ...variables };
  return run('bash', [...BASH, flags, commands], { env, cwd });
}

/** What a guide shows, in which `…` stands for any text. */
async function shownBy(guide: string): Promise<RegExp> {
  const [output = ''] = await blocksOf(`docs/guides/${guide}.md`, 'text');
  const parts = output.split('…').map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`);
}

async function stopService(): Promise<void> {
  if (service.exitCode !== null || service.signalCode !== null) return;
  // npm may end before the server below it, which holds the output until it has ended.
  const closed = new Promise((resolve) => service.once('close', resolve));
  service.kill('SIGTERM');
  await closed;
}

afterAll(async () => {
  await stopService();
  await rm(dataDir, { recursive: true, force: true });
});

test('the two commands are what CI runs, and the first of them serves', async () => {
  const blocks = await blocksOf('README.md', 'sh');
  expect(blocks.slice(0, 2)).toEqual(['npm ci && npm start', 'npm ci && npm test']);
  service = spawn('npm', ['start'], {
    env: {
      ...process.env,
      DATA_DIR: dataDir,
      PORT: '0',
      ADMIN_API_KEY: '',
      DATABASE_URL: '',
      EVENTSTORE_URL: '',
      WEBHOOKS_ALLOW_PRIVATE: 'true',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve, reject) => {
    service.once('exit', (code) => reject(new Error(`npm start ended with ${String(code)}`)));
    service.stdout?.on('data', (chunk: Buffer) => {
      printed += chunk.toString();
      if (printed.includes('Create a first project')) resolve();
    });
  });
});

test('the first steps do what they say', async () => {
  const admin = /fl_adm_\w+/.exec(printed)?.[0];
  const url = /http:\/\/[\d.:]+/.exec(printed)?.[0];
  expect(admin).toBeDefined();
  const [, , firstSteps = ''] = await blocksOf('README.md', 'sh');
  const script = firstSteps
    .replace(/^ADMIN=.*$/m, `ADMIN=${admin}`)
    .replace(/^URL=.*$/m, `URL=${url}/api/v1`);

  const { stdout } = await inShell(`${script}\necho; echo "$OWNER $DEVICE"`);

  const [first, duplicated, current, history, keys = ''] = stdout
    .trim()
    .split(/\n|(?<=\})(?=[{F])/)
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const [owner = '', device = ''] = keys.split(' ');
  const JSON_HEADER = 'Content-Type: application/json';
  variables = { URL: `${url}/api/v1`, OWNER: owner, DEVICE: device, JSON: JSON_HEADER };
  expect(first).toBe('{"data":{"temperature":21}}');
  expect(duplicated).toBe('Fleetledger-Deduplicated: unchanged');
  expect(JSON.parse(current ?? '')).toMatchObject({
    data: { current: { temperature: 21 } },
    revision: 0,
  });
  expect(JSON.parse(history ?? '')).toMatchObject({ items: [{ patch: { temperature: 21 } }] });
});

test.each(['firmware', 'state', 'usage', 'the-past', 'follow-the-ledger'])(
  'the guide %s prints what it shows',
  async (guide) => {
    const { stdout, stderr } = await inShell(await commandsOf(guide));
    expect(stderr).toBe('');
    expect(stdout.trim()).toMatch(await shownBy(guide));
  },
);

test('the guide webhooks prints what it shows, with the receiver that it shows', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'fleetledger-receiver-'));
  const [receiver = ''] = await blocksOf('docs/guides/webhooks.md', 'js');
  await writeFile(path.join(folder, 'receiver.mjs'), receiver);
  await symlink(path.resolve('node_modules'), path.join(folder, 'node_modules'));
  const { stdout, stderr } = await inShell(await commandsOf('webhooks'), '-c', folder);
  await rm(folder, { recursive: true });
  expect(stderr).toBe('');
  expect(stdout.trim()).toMatch(await shownBy('webhooks'));
});

test('the command line does what it says, beside the service', async () => {
  const { stdout, stderr } = await inShell(await commandsOf('read-models'));

  expect(stderr).toBe('');
  const lines = stdout.trimEnd().split('\n');
  const [titles, ...listed] = lines.splice(0, 1 + PROJECTION_NAMES.length);
  expect(titles).toMatch(/^NAME /);
  for (const [index, name] of PROJECTION_NAMES.entries()) {
    expect(listed[index]).toMatch(new RegExp(`^${name} .* live `));
  }
  const [rebuild, verification, patch, ...more] = lines;
  expect(rebuild).toMatch(/^The rebuild .* completed /);
  expect(verification).toMatch(/^The verification .* none differ\.$/);
  expect(patch).toContain('{"temperature":21}');
  expect(more).toEqual([]);
});

test('a batch of DevEUIs is registered with a simulated provider, beside the service', async () => {
  const { stdout, stderr } = await inShell(await commandsOf('provisioning'), '-mc');

  expect(stdout.trim()).toMatch(await shownBy('provisioning'));
  expect(stdout.match(/^[0-9A-F]{5} {2}[0-9A-F]{16}$/gm)).toHaveLength(3);
  expect(stderr).toMatch(/^3 of 3 are registered/m);
});

test('the log is copied to an EventStoreDB once the service is stopped', async () => {
  const standIn = await startStandInProcess();
  try {
    await stopService();
    const commands = await commandsOf('moving-a-log');
    const { stdout, stderr } = await inShell(
      commands.replace(/esdb:[^']+/, standIn.connectionString),
    );
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^Copied the log \w{8} to \w{8}: \d+ events, the same by SHA-256/);
  } finally {
    await standIn.end();
  }
});
