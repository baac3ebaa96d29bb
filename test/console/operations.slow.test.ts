// @module-tag slow
import { expect, test } from 'vitest';
import { consoleTest } from './console-test.ts';

const use = consoleTest();
const MINUTE = { timeout: 60_000 };

test('a rebuild is watched to its end under writes, and the tables hold what the log says', async () => {
  const { page, visit } = use();
  await visit('operations');
  const card = page.getByRole('region', { name: 'state', exact: true });
  await card.getByRole('button', { name: 'Rebuild' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Rebuild' }).click();
  await page.getByRole('heading', { name: 'Rebuild of state' }).waitFor();
  const status = page.getByRole('main').getByRole('status').first();
  await expect.poll(() => status.textContent(), MINUTE).toContain('completed');
  expect(await page.getByRole('progressbar').getAttribute('aria-valuenow')).toBe('100');
  await page.getByRole('link', { name: 'All projections' }).click();
  await card.getByText('generation 2').waitFor();

  await card.getByRole('button', { name: 'Verify' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Verify' }).click();
  await page.getByRole('heading', { name: 'No row differs' }).waitFor(MINUTE);
});

test('a projection is paused and resumed after a confirmation', async () => {
  const { page, visit } = use();
  await visit('operations');
  const card = page.getByRole('region', { name: 'firmware', exact: true });
  await card.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
  await card.getByText('live').waitFor();
  await card.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
  await card.getByText('paused').waitFor();
  await card.getByRole('button', { name: 'Resume' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click();
  await card.getByText('live').waitFor();
});

test('the log is searched by type, and each event shows its request', async () => {
  const { page, visit } = use();
  await visit('log');
  await page.getByLabel('Types').fill('BatchRequested');
  await page.getByRole('button', { name: 'Search the log' }).click();
  const events = page.getByRole('table', { name: 'Events' });
  await events.getByText('batch-demo.demo-batch-1').waitFor();
  await events.getByRole('button').first().click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('"concurrency"').waitFor();
  await dialog.getByRole('button', { name: 'This stream' }).click();
  await events.getByText('BatchCompleted').waitFor();
});

test('a viewer gets no control that writes, and sees no operations', async () => {
  const { api, open, demo } = use();
  const answer = await api('POST', '/members', { name: 'Vera', role: 'viewer' });
  const { key } = (await answer.json()) as { key: string };
  const { page, context } = await open(key);
  const views = page.getByRole('navigation', { name: 'Views' }).getByRole('link');
  expect(await views.allTextContents()).toEqual(['Fleet', 'Provisioning', 'Firmware', 'Usage']);
  await page.goto(`${demo.url}/console/provisioning`);
  await page.getByRole('link', { name: 'demo-batch-1' }).waitFor();
  expect(await page.getByRole('button', { name: 'Start a batch' }).count()).toBe(0);
  await context.close();
});

test('a refused key shows its code, and a revoked one is asked for again', async () => {
  const { api, open, demo, tab } = use();
  const answer = await api('POST', '/members', { name: 'Rita', role: 'member' });
  const { id, key } = (await answer.json()) as { id: string; key: string };
  const { page, context } = await open(key);
  await page.getByRole('link', { name: 'pump-1', exact: true }).waitFor();
  await api('DELETE', `/members/${id}`);
  await page.getByRole('alert').getByText('it was revoked').waitFor();
  await page.getByLabel('Key', { exact: true }).fill(key);
  await page.getByRole('button', { name: 'Open the console' }).click();
  await page.getByText('unauthenticated').waitFor();
  await page.getByLabel('Key', { exact: true }).fill(demo.ownerKey);
  await page.getByRole('button', { name: 'Open the console' }).click();
  await page.getByRole('heading', { name: 'Fleet' }).waitFor();
  expect(await page.evaluate('JSON.stringify(localStorage)')).not.toContain('fl_');
  await context.close();
  expect(tab.page.url()).not.toContain('fl_');
});

test('the keyboard alone reaches a moment, and leads back', async () => {
  const { page, visit } = use();
  await visit('fleet');
  await page.getByRole('button', { name: /^Now/ }).focus();
  await page.keyboard.press('Enter');
  await page.getByLabel(/^Time in/).fill('2026-11-10 12:00');
  await page.keyboard.press('Enter');
  await page.getByText('Nothing here moves').waitFor();
  expect(page.url()).toContain('at=2026-11-10');
  await page.getByRole('button', { name: 'Back to now' }).focus();
  await page.keyboard.press('Space');
  await page.getByText('Nothing here moves').waitFor({ state: 'detached' });
});

test('a service that is killed under the page is waited for, and then read anew', async () => {
  const { page, visit, demo, api } = use();
  await visit('devices/pump-2');
  await page.getByRole('region', { name: 'Timeline' }).getByRole('listitem').first().waitFor();
  await demo.kill();
  await page.getByText('The service does not answer').waitFor();
  // What was read stays in sight.
  await page.getByRole('region', { name: 'State' }).getByText('battery').waitFor();
  await demo.startAgain();
  await page.getByText('Connected again').waitFor(MINUTE);
  await api('PATCH', '/devices/pump-2', { sensor_id: 'a-sensor-after-the-kill' });
  await page.getByText('a-sensor-after-the-kill').first().waitFor();
});
