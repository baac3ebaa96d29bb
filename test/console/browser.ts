import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

/** Debian's Chromium, which `.ci/run` installs; CHROMIUM names another one. */
const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

export function openBrowser(): Promise<Browser> {
  // Root, as which containers run tests, may not use Chromium's sandbox.
  return chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
}

export interface Opened {
  readonly context: BrowserContext;
  readonly page: Page;
  /** What went wrong in the page: errors in its scripts, and what its security policy refused. */
  readonly faults: string[];
}

/** A tab of its own, in which the keys are entered as a person does it. */
export async function openConsole(
  browser: Browser,
  url: string,
  keys: readonly string[],
): Promise<Opened> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  const faults: string[] = [];
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => {
    const text = message.text();
    // A refusal by the service is shown in the page; the browser notes it here as well.
    if (message.type() === 'error' && !text.startsWith('Failed to load resource'))
      faults.push(text);
  });
  await page.goto(`${url}/console/`);
  const [first = '', ...others] = keys;
  await page.getByLabel('Key', { exact: true }).fill(first);
  await page.getByRole('button', { name: 'Open the console' }).click();
  await page.getByRole('navigation', { name: 'Views' }).waitFor();
  for (const key of others) await addKey(page, key);
  return { context, page, faults };
}

async function addKey(page: Page, key: string): Promise<void> {
  await page.getByRole('banner').getByRole('button').last().click();
  await page.getByText(/^Add (an admin key|the key of a member)$/).click();
  await page.getByLabel('Key', { exact: true }).fill(key);
  await page.getByRole('button', { name: 'Open the console' }).click();
  await page.getByRole('navigation', { name: 'Views' }).getByText('Operations').waitFor();
}
