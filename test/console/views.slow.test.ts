// @module-tag slow
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { violationsIn } from './axe.ts';
import { openBrowser, openConsole, type Opened } from './browser.ts';
import { startDemo, type Demo } from './demo.ts';

let demo: Demo;
let browser: Browser;
let tab: Opened;

beforeAll(async () => {
  demo = await startDemo();
  browser = await openBrowser();
  tab = await openConsole(browser, demo.url, [demo.ownerKey, demo.adminKey]);
});
afterAll(async () => {
  await browser.close();
});

describe('the fleet', () => {
  test('lists the devices, and axe finds nothing', async () => {
    const { page, faults } = tab;
    await page
      .getByRole('table', { name: 'Devices' })
      .getByRole('link', { name: 'pump-1' })
      .waitFor();
    expect(await violationsIn(page)).toEqual([]);
    expect(faults).toEqual([]);
  });
});
