import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';

interface Manifest {
  readonly engines: { readonly node: string };
  readonly files: readonly string[];
  readonly scripts: Readonly<Record<string, string>>;
}

interface Instruction {
  readonly name: string;
  readonly value: string;
}

interface Stage {
  readonly from: string;
  readonly name: string | undefined;
  readonly instructions: readonly Instruction[];
}

const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest;
const stages = readStages();
const last = stages.at(-1)?.instructions ?? [];
let servers: Server[] = [];

afterEach(() => {
  for (const server of servers) server.close();
  servers = [];
});

function readStages(): Stage[] {
  const found: (Stage & { instructions: Instruction[] })[] = [];
  const text = readFileSync('Dockerfile', 'utf8').replaceAll(/^#.*\n/gm, '');
  for (const line of text.replaceAll(/\\\n\s*/g, '').split('\n')) {
    const [, name = '', value = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    if (name === 'FROM') {
      const [from = '', , stage] = value.split(' ');
      found.push({ from, name: stage, instructions: [] });
    } else if (name !== '') {
      found.at(-1)?.instructions.push({ name, value });
    }
  }
  return found;
}

function only(name: string): string {
  const [found, ...others] = last.filter((instruction) => instruction.name === name);
  if (found === undefined || others.length > 0) throw new Error(`there is not one ${name}`);
  return found.value;
}

function copies(instructions: readonly Instruction[]): { from?: string; sources: string[] }[] {
  return instructions
    .filter(({ name }) => name === 'COPY')
    .map(({ value }) => {
      const words = value.split(' ');
      const from = words.find((word) => word.startsWith('--from='))?.slice('--from='.length);
      const sources = words.filter((word) => !word.startsWith('--')).slice(0, -1);
      return { ...(from !== undefined && { from }), sources };
    });
}

/**
 * The last pattern that fits decides. None here is more than `*`, or the name of a file or folder.
 */
function isIgnored(entry: string): boolean {
  const patterns = readFileSync('.dockerignore', 'utf8').split('\n');
  const parts = entry.split('/');
  const names = new Set(parts.map((_part, index) => parts.slice(0, index + 1).join('/')));
  const fitting = patterns.filter(
    (pattern) => pattern === '*' || names.has(pattern.replace(/^!/, '')),
  );
  return fitting.at(-1)?.startsWith('!') === false;
}

describe('the image', () => {
  test('is made from exact versions of node that the service supports', () => {
    const names = new Set(stages.map(({ name }) => name));
    const bases = stages.map(({ from }) => from).filter((from) => !names.has(from));
    expect(bases.length).toBeGreaterThan(0);
    const [, least = ''] = /^>=([\d.]+)$/.exec(manifest.engines.node) ?? [];
    for (const base of bases) {
      const [, version = ''] = /^node:(\d+\.\d+\.\d+)-[a-z]+-slim$/.exec(base) ?? [];
      expect(version, base).not.toBe('');
      expect(version.localeCompare(least, 'en', { numeric: true })).toBeGreaterThan(0);
    }
  });

  test('copies only what is there, and what the build is sent', async () => {
    const sources = stages
      .flatMap(({ instructions }) => copies(instructions))
      .filter(({ from }) => from === undefined)
      .flatMap((copy) => copy.sources);
    expect(sources).toContain('package-lock.json');
    for (const source of sources) {
      await access(source);
      expect(isIgnored(source), source).toBe(false);
    }
  });

  test('can be built by podman 4, which knows no start interval', () => {
    expect(only('HEALTHCHECK')).not.toContain('--start-interval');
  });

  test('has maps with their sources, and nothing that only the compiler reads', () => {
    const build = stages.flatMap(({ instructions }) => instructions.map(({ value }) => value));
    expect(build).toContain('npm run build && rm dist/.tsbuildinfo');
    expect(manifest.files).toContain('!dist/.tsbuildinfo');
    const { compilerOptions } = JSON.parse(readFileSync('tsconfig.build.json', 'utf8')) as {
      readonly compilerOptions: Readonly<Record<string, unknown>>;
    };
    expect(compilerOptions).toMatchObject({
      sourceMap: true,
      inlineSources: true,
      tsBuildInfoFile: 'dist/.tsbuildinfo',
    });
  });

  test('takes the rest from stages before', () => {
    stages.forEach(({ instructions }, index) => {
      const before = stages.slice(0, index).map(({ name }) => name);
      for (const { from } of copies(instructions)) {
        if (from !== undefined) expect(before).toContain(from);
      }
    });
  });

  test('has everything that the package has', () => {
    const copied = copies(last).flatMap(({ sources }) => sources);
    const names = copied.map((source) => source.replace('/app/', ''));
    expect(names).toEqual(
      expect.arrayContaining([
        ...manifest.files.filter((file) => !file.startsWith('!')),
        'package.json',
        'node_modules',
      ]),
    );
  });

  test('keeps the cache of npm out of its layers', () => {
    const installs = stages.flatMap(({ instructions }) =>
      instructions.filter(({ value }) => value.includes('npm ci')),
    );
    expect(installs).toHaveLength(2);
    for (const { value } of installs) expect(value).toMatch(/^--mount=type=cache,target=\S+ npm/);
  });

  test('runs as a user that may write only its data', () => {
    expect(only('USER')).toBe('node');
    expect(only('RUN')).toBe('install --directory --owner=node --group=node "$DATA_DIR"');
    expect(only('ENV')).toMatch(/DATA_DIR=\/var\/lib\/fleetledger$/);
    const user = last.findIndex(({ name }) => name === 'USER');
    expect(last.slice(user).map(({ name }) => name)).not.toContain('RUN');
  });

  test('starts what `npm start` starts', () => {
    const words = [only('ENTRYPOINT'), only('CMD')].flatMap((list) => JSON.parse(list) as string[]);
    expect(words.join(' ').replace('/app/', '')).toBe(manifest.scripts['start']);
  });

  test('listens where it says it does', () => {
    expect(only('ENV')).toContain('HOST=0.0.0.0 ');
    expect(only('ENV')).toContain(`PORT=${only('EXPOSE')} `);
  });
});

describe('the health check of the image', () => {
  const [file = '', ...args] = JSON.parse(
    only('HEALTHCHECK').replace(/^.*? CMD /, ''),
  ) as readonly string[];

  function check(port: number): Promise<number> {
    return new Promise((resolve) => {
      const env = { PATH: process.env['PATH'], PORT: String(port) };
      execFile(file, args, { env }).once('exit', (code) => resolve(code ?? -1));
    });
  }

  async function listen(answers: Readonly<Record<string, number>>): Promise<number> {
    const server = createServer((request, response) => {
      response.writeHead(answers[request.url ?? ''] ?? 404).end();
    });
    servers.push(server);
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    return (server.address() as AddressInfo).port;
  }

  test('is 0 when the service is ready', async () => {
    expect(await check(await listen({ '/health/ready': 200 }))).toBe(0);
  });

  test('is 1 when it is not, though it lives', async () => {
    expect(await check(await listen({ '/health/ready': 503, '/health/live': 200 }))).toBe(1);
  });

  test('is 1 when nothing listens', async () => {
    const port = await listen({});
    await new Promise((resolve) => servers.pop()?.close(resolve));
    expect(await check(port)).toBe(1);
  });
});

describe('.dockerignore', () => {
  test.each(['node_modules', '.git', 'dist', '.fleetledger', '.env', 'test', 'bench'])(
    'leaves %s out',
    (entry) => {
      expect(isIgnored(entry)).toBe(true);
    },
  );

  test('lets through what is there only', async () => {
    const entries = await readdir('.');
    const through = readFileSync('.dockerignore', 'utf8').match(/(?<=^!).*$/gm);
    expect(entries).toEqual(expect.arrayContaining(through ?? []));
  });
});
