import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import express from 'express';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { consoleRouter } from '../../src/api/console.ts';
import { listen, type RunningServer } from '../../src/api/server.ts';

const PAGE = '<!doctype html><base href="/console/" /><script src="./assets/a-1f.js"></script>';
let folder: string;
let server: RunningServer;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'fleetledger-console-'));
  await mkdir(path.join(folder, 'assets'));
  await writeFile(path.join(folder, 'index.html'), PAGE);
  await writeFile(path.join(folder, 'assets/a-1f.js'), 'plain');
  await writeFile(path.join(folder, 'assets/a-1f.js.br'), 'compressed');
  const app = express();
  const router = consoleRouter(folder);
  if (router !== undefined) app.use(router);
  server = await listen(app, '127.0.0.1', 0);
});
afterAll(async () => {
  await server.drain();
  await rm(folder, { recursive: true });
});

test('every path of the console is its one page, which is asked for anew each time', async () => {
  for (const place of ['/console', '/console/', '/console/devices/pump%2F1']) {
    const answer = await fetch(server.url + place);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('Content-Type')).toBe('text/html; charset=utf-8');
    expect(answer.headers.get('Cache-Control')).toBe('no-cache');
    expect(await answer.text()).toBe(PAGE);
  }
});

test('the page may load scripts and styles from its own host alone, and none within itself', async () => {
  const { headers } = await fetch(`${server.url}/console/`);
  const policy = headers.get('Content-Security-Policy') ?? '';
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toMatch(/unsafe|https?:|\*/);
});

test('assets are kept for good, and sent compressed to whoever takes that', async () => {
  const url = `${server.url}/console/assets/a-1f.js`;
  const plain = await fetch(url, { headers: { 'Accept-Encoding': 'identity' } });
  expect(plain.headers.get('Cache-Control')).toContain('immutable');
  expect(plain.headers.get('Content-Type')).toMatch(/^text\/javascript/);
  expect(await plain.text()).toBe('plain');
  const head = await fetch(url, { method: 'HEAD', headers: { 'Accept-Encoding': 'br' } });
  expect(head.headers.get('Content-Encoding')).toBe('br');
  expect(head.headers.get('Content-Length')).toBe(String('compressed'.length));
});

test('an asset that is not there is no page', async () => {
  for (const name of ['b-2e.js', '..%2Findex.html', 'a-1f.js.br']) {
    expect((await fetch(`${server.url}/console/assets/${name}`)).status).toBe(404);
  }
});

test('behind a proxy that serves it below a path, the page is told that path', async () => {
  const base = async (prefix: string): Promise<string | undefined> => {
    const headers = { 'X-Forwarded-Prefix': prefix };
    const page = await (await fetch(`${server.url}/console/`, { headers })).text();
    return /<base href="([^"]*)"/.exec(page)?.[1];
  };
  expect(await base('/ledger/eu')).toBe('/ledger/eu/console/');
  expect(await base('"><script>')).toBe('/console/');
  expect(await base('//evil.example')).toBe('/console/');
});

test('where it was not built, there is none', () => {
  expect(consoleRouter(path.join(folder, 'elsewhere'))).toBeUndefined();
});
