import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';

const SOURCE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface Axe {
  run(): Promise<{
    violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[];
  }>;
}

/** What axe finds against accessibility in the page as it is: nothing, in a good one. */
export async function violationsIn(page: Page): Promise<string[]> {
  // Evaluated by the debugger, which the page's security policy does not concern.
  await page.evaluate(SOURCE);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: Axe };
    const { violations } = await axe.run();
    return violations.map(({ id, nodes }) => {
      const [node] = nodes;
      return `${id}: ${node?.html ?? ''} ${node?.failureSummary ?? ''}`;
    });
  });
}
