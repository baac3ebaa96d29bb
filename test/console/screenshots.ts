/**
 * Makes the screenshots that the README shows: `npm run screenshots`. With a folder as its argument
 * it makes those of every view there, in both themes and three widths, for whoever changes the looks;
 * with DEMO_URL, DEMO_OWNER_KEY and DEMO_ADMIN_KEY of a demo that runs already.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { openBrowser, openConsole } from './browser.ts';

const VIEWS: Readonly<Record<string, string>> = {
  fleet: 'fleet',
  'fleet-past': 'fleet?at=2026-11-10',
  'fleet-empty': 'fleet?q=nothing-like-it',
  device: 'devices/pump-1',
  'device-past': 'devices/pump-1?at=<week-ago>',
  'device-state': 'devices/pump-1?tab=state',
  'device-firmware': 'devices/pump-5?tab=firmware',
  provisioning: 'provisioning',
  batch: 'provisioning/demo-batch-5',
  firmware: 'firmware',
  usage: 'usage',
  'usage-organization': 'usage?by=org&id=waterworks',
  'usage-rejected': 'usage?tab=rejected',
  keys: 'keys',
  operations: 'operations',
  log: 'log',
  projects: 'projects',
  missing: 'devices/nothing-like-it',
};
const README: Readonly<Record<string, string>> = {
  'console-device': 'devices/pump-1',
  'console-usage': 'usage?by=org&id=waterworks',
};
const WIDTHS = [360, 1280, 2560];
const HEIGHT = 900;
const WEEK_MS = 7 * 86_400_000;
/** How long the last answers take to be drawn. */
const SETTLE_MS = 700;

interface RunningDemo {
  readonly url: string;
  readonly keys: readonly string[];
  end(): void;
}

const folder = process.argv[2];
const demo = await findDemo();
const browser = await openBrowser();
try {
  const { page } = await openConsole(browser, demo.url, demo.keys);
  if (folder === undefined) await forReadme(page);
  else await ofEverything(page, folder);
} finally {
  await browser.close();
  demo.end();
}

async function forReadme(page: Page): Promise<void> {
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: 'light' });
  for (const [name, view] of Object.entries(README)) {
    await show(page, view);
    await page.screenshot({ path: `docs/images/${name}.png` });
  }
}

async function ofEverything(page: Page, into: string): Promise<void> {
  mkdirSync(into, { recursive: true });
  const wanted = process.argv.slice(3);
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: HEIGHT });
      for (const [name, view] of Object.entries(VIEWS)) {
        if (wanted.length > 0 && !wanted.includes(name)) continue;
        await show(page, view);
        await page.screenshot({ path: path.join(into, `${name}-${width}-${colorScheme}.png`) });
      }
    }
  }
}

async function show(page: Page, view: string): Promise<void> {
  const weekAgo = new Date(Date.now() - WEEK_MS).toISOString();
  await page.goto(`${demo.url}/console/${view.replace('<week-ago>', weekAgo)}`);
  await page.getByRole('main').getByRole('heading', { level: 1 }).waitFor();
  await page.waitForTimeout(SETTLE_MS);
}

async function findDemo(): Promise<RunningDemo> {
  const { DEMO_URL: url, DEMO_OWNER_KEY: owner = '', DEMO_ADMIN_KEY: admin = '' } = process.env;
  if (url !== undefined) return { url, keys: [owner, admin], end: () => undefined };
  const dataDir = mkdtempSync(path.join(tmpdir(), 'fleetledger-screenshots-'));
  const env = { ...process.env, DATA_DIR: dataDir, PORT: '0' };
  const child = spawn(process.execPath, ['dist/cli.js', 'demo'], { env, stdio: 'pipe' });
  const text = await greeting(child);
  const found = (pattern: RegExp): string => pattern.exec(text)?.[1] ?? '';
  return {
    url: found(/ready on (http:\S+)/),
    keys: [found(/(fl_mem_\w+)/), found(/(fl_adm_\w+)/)],
    end() {
      child.once('exit', () => rmSync(dataDir, { recursive: true, force: true }));
      child.kill('SIGTERM');
    },
  };
}

function greeting(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('Ask the API')) resolve(text);
    });
    child.once('exit', (code) => reject(new Error(`the demo ended with ${code}: ${text}`)));
  });
}
