import { vi, expect } from 'vitest';
import { startCli, type CliProcess } from '../process/service-process.ts';

export interface Demo {
  readonly process: CliProcess;
  readonly url: string;
  readonly ownerKey: string;
  readonly adminKey: string;
}

const STARTS_WITHIN = { timeout: 60_000, interval: 100 };

/** `npm run demo`, with its fleet and a month of history, once it has greeted. */
export async function startDemo(settings: Readonly<Record<string, string>> = {}): Promise<Demo> {
  const process = startCli(['demo'], settings);
  const [url, ownerKey] = await vi.waitFor(() => {
    const text = process.stdout();
    const found = [/ready on (http:\S+)/.exec(text)?.[1], /fl_mem_\w+/.exec(text)?.[0]];
    expect(found).toEqual([expect.any(String), expect.any(String)]);
    return found as [string, string];
  }, STARTS_WITHIN);
  return { process, url, ownerKey, adminKey: /fl_adm_\w+/.exec(process.stdout())?.[0] ?? '' };
}
