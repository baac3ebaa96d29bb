// @module-tag slow
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { violationsIn } from './axe.ts';
import { consoleTest } from './console-test.ts';

const use = consoleTest();
/** The largest that what is sent for all views together may be. */
const MAX_BUNDLE_BYTES = 250 * 1024;

describe('the fleet', () => {
  test('is searched by any id, and leads to a device', async () => {
    const { page, visit } = use();
    await visit('fleet');
    const devices = page.getByRole('table', { name: 'Devices' });
    await devices.getByRole('link', { name: 'pump-1', exact: true }).waitFor();
    await page.getByRole('searchbox').fill('89440007');
    await expect.poll(() => devices.getByRole('link').allTextContents()).toEqual(['pump-7']);
    await devices.getByRole('link', { name: 'pump-7' }).click();
    await page.getByRole('heading', { level: 1, name: 'pump-7' }).waitFor();
  });

  test('is filtered by the firmware that devices run', async () => {
    const { page, visit } = use();
    await visit('firmware');
    const row = page.getByRole('row').filter({ has: page.getByText('1.1.0', { exact: true }) });
    const count = Number(await row.getByRole('link').textContent());
    await row.getByRole('link').click();
    const devices = page.getByRole('table', { name: 'Devices' });
    await expect.poll(() => devices.getByRole('link').count()).toBe(count);
  });

  test('says what to do when there is nothing', async () => {
    const { page, visit } = use();
    await visit('fleet?q=nothing-like-it');
    await page.getByRole('heading', { name: 'No device matches' }).waitFor();
    await page.getByRole('button', { name: 'Show all devices' }).click();
    await page.getByRole('link', { name: 'pump-1', exact: true }).waitFor();
  });
});

describe('a device', () => {
  test('shows each event of its timeline one click away', async () => {
    const { page, visit } = use();
    await visit('devices/pump-1?filter=firmware');
    const entry = page.getByRole('listitem').filter({ hasText: 'Reported firmware' }).first();
    await entry.getByText('Reported firmware').click();
    await entry.getByText('"version":').waitFor();
    await entry.getByText('FirmwareReported').waitFor();
  });

  test('shows any revision of its state, what changed in it, and who set it', async () => {
    const { page, visit } = use();
    await visit('devices/pump-24?tab=state');
    const slider = page.getByRole('slider');
    await slider.focus();
    await slider.press('Home');
    await page.getByRole('heading', { name: 'Revision 1', exact: true }).waitFor();
    await page.getByRole('heading', { name: 'All of it is new' }).waitFor();
    await slider.press('ArrowRight');
    await page.getByRole('heading', { name: 'Changed since revision 1' }).waitFor();
    await page.getByText('(changed)').first().waitFor({ state: 'attached' });
    const who = page.getByRole('region', { name: 'Who and when' });
    await expect.poll(() => who.getByText('battery.percent').count()).toBe(1);
  });

  test('is the same for a colleague who opens the link to a moment', async () => {
    const { page, visit, open, demo } = use();
    await visit('devices/pump-1');
    await page.getByRole('button', { name: /^Now/ }).click();
    await page.getByRole('button', { name: 'A week ago' }).click();
    await page.getByText('Nothing here moves').waitFor();
    const state = page.getByRole('region', { name: 'State' });
    const timeline = page.getByRole('region', { name: 'Timeline' });
    await state.getByText('battery').waitFor();
    const link = page.url();
    expect(link).not.toContain('fl_');
    const shown = [await state.textContent(), await timeline.textContent()];
    const colleague = await open(demo.ownerKey, demo.adminKey);
    await colleague.page.goto(link);
    const there = colleague.page.getByRole('region', { name: 'Timeline' });
    await expect.poll(() => there.textContent()).toBe(shown[1]);
    const theirs = colleague.page.getByRole('region', { name: 'State' });
    expect(await theirs.textContent()).toBe(shown[0]);
    await colleague.context.close();
    await page.getByRole('button', { name: 'Back to now' }).click();
    await expect.poll(() => state.textContent()).not.toBe(shown[0]);
  });
});

test('a batch is started, and its counts add up until it is full', async () => {
  const { page, visit } = use();
  await visit('provisioning');
  await page.getByRole('button', { name: 'Start a batch' }).click();
  await page.getByLabel('How many DevEUIs').fill('12');
  await page.getByRole('button', { name: 'Start the batch' }).click();
  const identity = page.getByTestId('identity');
  await identity.waitFor();
  const status = page.getByRole('region', { name: 'Progress' }).getByRole('status');
  const numbers = async (): Promise<number[]> =>
    ((await identity.textContent()) ?? '').match(/\d+/g)?.map(Number) ?? [];
  await expect
    .poll(
      async () => {
        const [attempted, ...parts] = await numbers();
        expect(parts.reduce((sum, part) => sum + part, 0)).toBe(attempted);
        return status.textContent();
      },
      { timeout: 30_000 },
    )
    .toContain('12 of 12 registered');
  await page.getByText('Completed').waitFor();
});

test('usage is a chart and the same table, in any time zone, and a file', async () => {
  const { page, visit, api } = use();
  await visit('usage?by=org&id=waterworks&zone=UTC');
  await page.locator('canvas').waitFor();
  const from = await page.getByRole('textbox', { name: 'From' }).inputValue();
  const to = await page.getByRole('textbox', { name: 'To' }).inputValue();
  const query = `start=${from}&end=${to}&every=1day&time_zone=UTC&fill=zero&size=100`;
  const answer = await api('GET', `/organization/waterworks/usage?${query}`);
  const { items } = (await answer.json()) as { items: { 'bytes-used-total': number }[] };
  const table = page.getByRole('table', { name: 'Usage by time' });
  await table.getByText((items[1]?.['bytes-used-total'] ?? 0).toLocaleString('en')).waitFor();
  expect(await table.getAttribute('aria-rowcount')).toBe(String(items.length + 1));
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Download CSV' }).click(),
  ]);
  expect(download.suggestedFilename()).toBe(`usage-waterworks-${from}-${to}.csv`);
  await visit('usage?by=org&id=waterworks&zone=Europe/Berlin&from=2026-10-20&to=2026-10-31');
  await page.getByText('clocks go back').waitFor();
  await visit('usage?tab=rejected');
  await page
    .getByRole('button', { name: /89440003/ })
    .first()
    .click();
  await page.getByRole('dialog').getByText('bytes-used must be').waitFor();
});

test('axe finds nothing on any view, in both themes and on a narrow screen', async () => {
  const { page, visit, tab } = use();
  const views =
    'fleet fleet?at=2026-11-10 fleet?q=none devices/pump-1 devices/none devices/pump-1?tab=state ' +
    'devices/pump-1?tab=firmware provisioning provisioning/demo-batch-1 firmware usage usage?by=sim ' +
    'usage?by=org&id=brewery usage?tab=rejected webhooks keys operations log projects';
  const found: string[] = [];
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width: colorScheme === 'light' ? 1280 : 360, height: 900 });
    for (const view of views.split(' ')) {
      await visit(view);
      await page.getByRole('status', { name: 'Loading' }).waitFor({ state: 'detached' });
      found.push(...(await violationsIn(page)).map((text) => `${view} ${colorScheme}: ${text}`));
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  expect(found).toEqual([]);
  expect(tab.faults).toEqual([]);
});

test('nothing is loaded from another host, and all of it is small', async () => {
  const { page, visit, demo } = use();
  const hosts = new Set<string>();
  page.on('request', (request) => hosts.add(new URL(request.url()).origin));
  await visit('usage?by=org&id=waterworks');
  await page.locator('canvas').waitFor();
  expect([...hosts]).toEqual([demo.url]);
  const folder = 'dist/console/assets';
  const sizes = readdirSync(folder)
    .filter((name) => name.endsWith('.br'))
    .map((name) => statSync(path.join(folder, name)).size);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(MAX_BUNDLE_BYTES);
});
