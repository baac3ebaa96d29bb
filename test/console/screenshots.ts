/**
 * Makes the screenshots that the README shows: `npm run screenshots`. With a folder as its argument
 * it makes those of every view there, in both themes and three widths, for whoever changes the
 * looks; with DEMO_URL, DEMO_OWNER_KEY and DEMO_ADMIN_KEY of a demo that runs already.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { openBrowser, openConsole } from './browser.ts';
import { startDemo, type Demo } from './demo.ts';

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
  webhooks: 'webhooks',
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

const folder = process.argv[2];
const demo = await findDemo();
const browser = await openBrowser();
try {
  const { page } = await openConsole(browser, demo.url, [demo.ownerKey, demo.adminKey]);
  if (folder === undefined) await forReadme(page);
  else await ofEverything(page, folder);
} finally {
  await browser.close();
  await demo.end();
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

/** The one that is named, or one of its own. */
async function findDemo(): Promise<Pick<Demo, 'url' | 'ownerKey' | 'adminKey' | 'end'>> {
  const {
    DEMO_URL: url,
    DEMO_OWNER_KEY: ownerKey = '',
    DEMO_ADMIN_KEY: adminKey = '',
  } = process.env;
  if (url === undefined) return startDemo();
  return { url, ownerKey, adminKey, end: () => Promise.resolve() };
}
