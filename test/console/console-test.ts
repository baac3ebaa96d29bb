import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';
import { openBrowser, openConsole, type Opened } from './browser.ts';
import { startDemo, type Demo } from './demo.ts';

/** One demo and one browser for the tests of a file, and a tab with both keys. */
export interface ConsoleTest {
  readonly demo: Demo;
  readonly page: Page;
  readonly tab: Opened;
  /** Another tab, with keys of its own. */
  open(...keys: string[]): Promise<Opened>;
  /** Asks the API as the owner does. */
  api(method: string, path: string, body?: object): Promise<Response>;
  visit(view: string): Promise<void>;
}

export function consoleTest(): () => ConsoleTest {
  let demo: Demo | undefined;
  let browser: Browser | undefined;
  let current: ConsoleTest | undefined;
  beforeAll(async () => {
    demo = await startDemo();
    browser = await openBrowser();
    const { url, ownerKey, adminKey } = demo;
    const tab = await openConsole(browser, url, [ownerKey, adminKey]);
    const open = (...keys: string[]): Promise<Opened> => openConsole(browser as Browser, url, keys);
    current = {
      demo,
      tab,
      page: tab.page,
      open,
      api: (method, path, body) =>
        fetch(`${url}/api/v1${path}`, {
          method,
          headers: { Authorization: `Bearer ${ownerKey}`, 'Content-Type': 'application/json' },
          ...(body !== undefined && { body: JSON.stringify(body) }),
        }),
      async visit(view) {
        await tab.page.goto(`${url}/console/${view}`);
        await tab.page.getByRole('main').getByRole('heading', { level: 1 }).waitFor();
      },
    };
  });
  afterAll(async () => {
    await browser?.close();
    await demo?.end();
  });
  return () => {
    if (current === undefined) throw new Error('asked for before the tests began');
    return current;
  };
}
