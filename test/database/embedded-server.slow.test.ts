// @module-tag slow
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import path from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { DataDirectoryInUse } from '../../src/database/embedded-server/errors.ts';
import {
  NOBODY,
  activeCounts,
  asRoot,
  children,
  connect,
  copyWithoutLinks,
  dataDir,
  exited,
  kill,
  memberBackends,
  members,
  open,
  openInChild,
  pidFile,
  postmasterPid,
  processesIn,
  query,
  scratchDir,
  setting,
  signal,
  startChild,
  terminateMembers,
  until,
  useDataDir,
} from './embedded-server-fixture.ts';

describe('a data directory', () => {
  test('keeps its data, its port and its password from one start to the next', async () => {
    const first = await open();
    await query(first.url, 'create table kept (n int)');
    await query(first.url, 'insert into kept values (7)');
    await first.close();
    expect(processesIn(dataDir)).toEqual([]);

    const second = await open();
    expect(await query(second.url, 'select n from kept')).toEqual([{ n: 7 }]);
    expect(second.url).toBe(first.url);
  });

  test('has a cluster that is durable, UTF-8, and closed to others', async () => {
    const { url } = await open();
    const names = 'fsync synchronous_commit full_page_writes wal_compression data_checksums';
    for (const name of names.split(' ')) expect(await setting(url, name)).not.toBe('off');
    expect(await setting(url, 'listen_addresses')).toBe('127.0.0.1');
    expect(await setting(url, 'unix_socket_directories')).toBe('');
    expect(await setting(url, 'server_encoding')).toBe('UTF8');
    expect(await setting(url, 'client_connection_check_interval')).toBe('1s');
    expect(await query(url, `select upper('ß é') as up, 'B' < 'a' as bytes`)).toEqual([
      { up: 'ß É', bytes: true },
    ]);
    expect((await stat(path.join(dataDir, 'postgres-password'))).mode & 0o777).toBe(0o600);
    expect((await stat(path.join(dataDir, 'postgres'))).mode & 0o777).toBe(0o700);
    const wrong = url.replace(/:[^:@]+@/, ':wrong@');
    await expect(query(wrong, 'select 1')).rejects.toMatchObject({ code: '28P01' });
  });

  test('moves to another port when its own is taken', async () => {
    const first = await open();
    await first.close();
    const port = Number(new URL(first.url).port);
    const squatter = createServer().listen(port, '127.0.0.1');
    await once(squatter, 'listening');
    try {
      const second = await open();
      expect(new URL(second.url).port).not.toBe(String(port));
      expect(await query(second.url, 'select 1 as n')).toEqual([{ n: 1 }]);
    } finally {
      squatter.close();
    }
  });

  test('says what is missing when its password is lost', async () => {
    await (await open()).close();
    await rm(path.join(dataDir, 'postgres-password'));
    await expect(open()).rejects.toThrow(/postgres-password is missing.*restore/);
    await writeFile(path.join(dataDir, 'postgres-password'), 'another\n', { mode: 0o600 });
    await expect(open()).rejects.toThrow(/is not that of/);
  });
});

describe('who may be in', () => {
  test('of two services that open a new directory at once, one wins', async () => {
    const results = await Promise.allSettled([open(), open()]);
    const won = results.filter((result) => result.status === 'fulfilled');
    const lost = results.filter((result) => result.status === 'rejected');
    expect([won.length, lost.length]).toEqual([1, 1]);
    expect(lost[0]?.reason).toBeInstanceOf(DataDirectoryInUse);
    expect(lost[0]?.reason).toMatchObject({
      holderPid: process.pid,
      message: `another process (pid ${process.pid}) is serving this data directory: ${dataDir}`,
    });
    expect(await query(won[0]!.value.url, 'select 1 as n')).toEqual([{ n: 1 }]);
    expect(await readdir(dataDir)).not.toContainEqual(expect.stringContaining('.new-'));
  });

  test('the pid in the refusal is that of the other process', async () => {
    const { child } = await openInChild();
    await expect(open()).rejects.toMatchObject({
      name: 'DataDirectoryInUse',
      holderPid: child.pid,
    });
  });

  test('a tool may be beside a service and other tools; the last one stops the server', async () => {
    const service = await open();
    const [tool, another] = await Promise.all([open('tool'), open('tool')]);
    expect(tool.url).toBe(service.url);
    await service.close();
    expect(await query(tool.url, 'select 1 as n')).toEqual([{ n: 1 }]);
    const next = await open();
    await Promise.all([tool.close(), another.close(), another.close()]);
    expect(await query(next.url, 'select 1 as n')).toEqual([{ n: 1 }]);
    await next.close();
    expect(processesIn(dataDir)).toEqual([]);
    await expect(readFile(pidFile())).rejects.toThrow('ENOENT');
  });

  test('who closes and who opens may meet at any moment', async () => {
    let current = await open('tool');
    for (let round = 0; round < 15; round++) {
      const [, next, beside] = await Promise.all([current.close(), open('tool'), open('tool')]);
      expect(await query(next.url, 'select 1 as n')).toEqual([{ n: 1 }]);
      current = next;
      await beside.close();
    }
    await current.close();
    expect(processesIn(dataDir)).toEqual([]);
  });

  test('locks that were lost with their connection are taken again', async () => {
    const service = await open();
    await query(service.url, terminateMembers);
    await until(async () => (await members(service.url)) === 2);
    await expect(open()).rejects.toBeInstanceOf(DataDirectoryInUse);
    await service.close();
    expect(processesIn(dataDir)).toEqual([]);
  });

  test('closing just as the connection is lost stops the server all the same', async () => {
    const service = await open();
    const [holder] = await query(service.url, memberBackends);
    // No turn of the event loop in between: `close` still believes in its connection.
    signal(Number(holder?.['pid']), 'SIGTERM');
    await service.close();
    expect(processesIn(dataDir)).toEqual([]);
  });

  test('without flock, PostgreSQL’s own pid file keeps two first starts apart', async () => {
    vi.stubEnv('PATH', '');
    const [tool, another] = await Promise.all([open('tool'), open('tool')]);
    expect(tool.url).toBe(another.url);
    await Promise.all([tool.close(), another.close()]);
    expect(processesIn(dataDir)).toEqual([]);
    const again = await open();
    expect(again.url).toBe(tool.url);
  });
});

describe('what a kill leaves behind', () => {
  test('of the process: its server is adopted, with all that was committed', async () => {
    const { child, url } = await openInChild();
    await query(url, 'create table committed as select 7 as n');
    const serverPid = await postmasterPid();
    await kill(child);

    const next = await open();
    expect(await postmasterPid()).toBe(serverPid);
    expect(await query(next.url, 'select n from committed')).toEqual([{ n: 7 }]);
  });

  test('of the process and the server: it recovers', async () => {
    const { child, url } = await openInChild();
    await query(url, 'create table committed as select 7 as n');
    await kill(child);
    signal(await postmasterPid(), 'SIGKILL');

    const next = await open();
    expect(await query(next.url, 'select n from committed')).toEqual([{ n: 7 }]);
  });

  test('of the server beneath us: it comes back at the same url', async () => {
    const service = await open();
    await query(service.url, 'create table committed as select 7 as n');
    signal(await postmasterPid(), 'SIGKILL');
    await until(async () => (await members(service.url)) === 2);
    expect(await query(service.url, 'select n from committed')).toEqual([{ n: 7 }]);
    await expect(open()).rejects.toBeInstanceOf(DataDirectoryInUse);
  });

  test('of one backend, which restarts all of them: the locks are held again', async () => {
    const service = await open();
    const victim = await connect(service.url);
    const [row] = (await victim.query('select pg_backend_pid() as pid')).rows as { pid: number }[];
    signal(row!.pid, 'SIGKILL');
    await until(async () => (await members(service.url)) === 2);
    await expect(open()).rejects.toBeInstanceOf(DataDirectoryInUse);
  });

  test('in the midst of initdb: the next start begins anew and removes the rest', async () => {
    const child = startChild();
    await until(async () => {
      const names = await readdir(dataDir);
      const fresh = names.find((name) => name.startsWith('postgres.new-'));
      return fresh !== undefined && (await readdir(path.join(dataDir, fresh))).includes('base');
    });
    await kill(child);
    expect(await readdir(dataDir)).not.toContain('postgres');

    const next = await open();
    expect(await query(next.url, 'select 1 as n')).toEqual([{ n: 1 }]);
    expect(await readdir(dataDir)).not.toContainEqual(expect.stringContaining('.new-'));
  });

  test('while the server starts: the next open waits for it', async () => {
    await (await open()).close();
    const child = startChild();
    await until(async () => (await readFile(pidFile(), 'utf8').catch(() => '')) !== '');
    await kill(child);
    const next = await open();
    expect(await query(next.url, 'select 1 as n')).toEqual([{ n: 1 }]);
  });

  test('a server that is shutting down is waited for', async () => {
    const { child, url } = await openInChild();
    const lingering = await connect(url);
    await kill(child);
    const stopping = await postmasterPid();
    signal(stopping, 'SIGTERM');
    await until(async () => (await readFile(pidFile(), 'utf8')).includes('stopping'));
    const opening = open();
    await lingering.end();
    expect(await query((await opening).url, 'select 1 as n')).toEqual([{ n: 1 }]);
    expect(await postmasterPid()).not.toBe(stopping);
  });

  test('a backend in a long computation does not block the next start', async () => {
    const { child, url } = await openInChild();
    const busy = await connect(url);
    const counting = busy
      .query('select count(*) from generate_series(1, 1e10)')
      .catch(() => 'ended');
    await until(async () => (await query(url, activeCounts))[0]?.['n'] === 1);
    await kill(child);
    signal(await postmasterPid(), 'SIGKILL');
    const next = await open();
    expect(await query(next.url, 'select 1 as n')).toEqual([{ n: 1 }]);
    expect(await counting).toBe('ended');
  });

  test.each([
    [
      'of a process that lives, but is another',
      (pid: number) => `${pid}\n/else\n1\n1\n\n\n\nready\n`,
    ],
    ['of nobody', () => '4000000\n/else\n1\n1\n\n\n\nready\n'],
    ['with nothing in it', () => ''],
  ])('a pid file %s is stale', async (_name, content) => {
    await (await open()).close();
    // A process of the server's own user, which PostgreSQL itself would take for a server.
    const stranger = spawn('sleep', ['600'], asRoot ? { uid: NOBODY, gid: NOBODY } : {});
    children.push(stranger);
    await once(stranger, 'spawn');
    await writeFile(pidFile(), content(stranger.pid!));
    const next = await open();
    expect(await query(next.url, 'select 1 as n')).toEqual([{ n: 1 }]);
  });

  test('Ctrl-C reaches the process and not its server, which is there for the draining', async () => {
    const { child } = await openInChild();
    process.kill(-child.pid!, 'SIGINT');
    await exited(child);
    expect(processesIn(dataDir)).toEqual([]);
    const next = await open();
    expect(await query(next.url, 'select count(*)::int as n from drained')).toEqual([{ n: 0 }]);
  });
});

describe('the binaries', () => {
  test('run when npm did not make the links of their libraries', async () => {
    const binariesDir = await copyWithoutLinks(await scratchDir());
    const server = await open('service', { binariesDir });
    expect(await query(server.url, 'select 1 as n')).toEqual([{ n: 1 }]);
    expect(await readdir(path.join(binariesDir, 'lib'))).toContain('libicuuc.so.60');
    expect(await readdir(dataDir)).not.toContain('postgres-libraries');
  });

  test.runIf(asRoot)(
    'run from a folder that cannot be written, as a user who is not root',
    async () => {
      const binaries = await scratchDir();
      await chmod(binaries, 0o755);
      const binariesDir = await copyWithoutLinks(binaries);
      await chown(dataDir, NOBODY, NOBODY);
      const { url, child } = await openInChild({ binariesDir, uid: NOBODY });
      expect(await query(url, 'select 1 as n')).toEqual([{ n: 1 }]);
      expect(await readdir(path.join(binariesDir, 'lib'))).not.toContain('libicuuc.so.60');
      expect(await readdir(path.join(dataDir, 'postgres-libraries'))).toContain('libicuuc.so.60');
      await kill(child);
      // Root adopts it, and starts it again, for that user.
      const next = await open('service', { binariesDir });
      await next.close();
      await open('service', { binariesDir });
      expect((await stat(`/proc/${await postmasterPid()}`)).uid).toBe(NOBODY);
    },
  );
});

describe.runIf(asRoot)('as root', () => {
  test('the server runs as nobody in a directory of root', async () => {
    await open();
    expect((await stat(`/proc/${await postmasterPid()}`)).uid).toBe(NOBODY);
    // Other services run as nobody, too.
    expect((await stat(path.join(dataDir, 'postgres-password'))).uid).toBe(0);
  });

  test('a user id without a name is told what PostgreSQL needs', async () => {
    await chown(dataDir, 4242, 4242);
    const child = startChild({ uid: 4242 });
    let stderr = '';
    child.stderr?.on('data', (chunk) => (stderr += chunk));
    expect(await exited(child)).not.toBe(0);
    expect(stderr).toContain('PostgreSQL needs a name for the user 4242');
    expect(stderr).toContain('fleetledger:x:4242:');
  });

  test('the server runs as the owner of the directory, who may continue without root', async () => {
    await (await open()).close();
    await chown(dataDir, 4242, 4242);
    const server = await open();
    expect((await stat(`/proc/${await postmasterPid()}`)).uid).toBe(4242);
    await query(server.url, 'create table kept as select 7 as n');
    await server.close();
    expect((await stat(path.join(dataDir, 'postgres-password'))).uid).toBe(4242);

    const { url } = await openInChild({ uid: 4242 });
    expect(await query(url, 'select n from kept')).toEqual([{ n: 7 }]);
  });

  test('another user is told whose directory it is', async () => {
    await (await open()).close();
    const child = startChild({ uid: 4242 });
    let stderr = '';
    child.stderr?.on('data', (chunk) => (stderr += chunk));
    expect(await exited(child)).not.toBe(0);
    expect(stderr).toMatch(/cannot be written: set DATA_DIR to a folder of this user/);
  });

  test('directory and binaries may be below one that only root can enter', async () => {
    const closed = await scratchDir(homedir());
    await chmod(closed, 0o700);
    useDataDir(path.join(closed, 'data'));
    const binariesDir = await copyWithoutLinks(closed);
    const first = await open('service', { binariesDir });
    await query(first.url, 'create table kept as select 7 as n');
    expect((await stat(`/proc/${await postmasterPid()}`)).uid).toBe(NOBODY);
    await first.close();
    const second = await open('service', { binariesDir });
    expect(await query(second.url, 'select n from kept')).toEqual([{ n: 7 }]);
  });

  test('one sentence says what to do where there is no setpriv', async () => {
    await chmod(dataDir, 0o700);
    vi.stubEnv('PATH', '');
    await expect(open()).rejects.toThrow(
      `cannot pass ${dataDir}: start as another user, move DATA_DIR and the program out of ` +
        'it, or set DATABASE_URL',
    );
  });
});
