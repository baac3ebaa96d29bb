import type * as devEuiModule from '../../src/commands/deveui/decider.ts';
import type * as ledgerModule from '../../src/service/ledger.ts';
import { parseConfig } from '../../src/config.ts';
import type * as provisioningModule from '../../src/service/provisioning.ts';
import { randomBytes } from 'node:crypto';
import { compiled } from '../build.ts';
import type { ProvisioningOrder, ProvisioningResult } from './provisioning.ts';

/**
 * Ours: the reactor as the service runs it, from the request of the batches until the last is
 * complete.
 */
const order = JSON.parse(process.argv[2] ?? '') as ProvisioningOrder;
const { openLedger } = await compiled<typeof ledgerModule>('service/ledger.ts');
const { openProvisioning } = await compiled<typeof provisioningModule>('service/provisioning.ts');
const { batchStream } = await compiled<typeof devEuiModule>('commands/deveui/decider.ts');

const settings = { ...parseConfig({}), databaseUrl: order.databaseUrl, logLevel: 'warn' };
const ledger = await openLedger(settings, 'tool');
const { commands, store } = ledger;
const provisioning = openProvisioning(ledger, { ...settings.lorawan, url: order.providerUrl });
const batchIds = Array.from({ length: order.batches }, (_, index) => String(index));

const begin = await store.head();
const ending = new AbortController();
provisioning.start();
// Leading, and at the head of the log, before the clock starts.
await runBatches(['warm-up'], 10);
const startedAtMs = performance.now();
const endedMs = await runBatches(batchIds, order.size);
const result: ProvisioningResult = {
  elapsedMs: performance.now() - startedAtMs,
  endedMs,
  maxRssBytes: process.resourceUsage().maxRSS * 1024,
};
await provisioning.stop();
await ledger.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));

/** When each was complete, after the request. */
async function runBatches(batchIds: readonly string[], size: number): Promise<number[]> {
  const streams = new Set(batchIds.map((id) => batchStream('bench', id)));
  const requestedAtMs = performance.now();
  const ended = new Map<string, number>();
  const complete = new Promise<void>((resolve, reject) => {
    (async () => {
      const options = { after: begin, types: ['BatchCompleted'], signal: ending.signal };
      for await (const { events } of store.subscribe(options)) {
        for (const { stream } of events) {
          if (streams.has(stream)) ended.set(stream, performance.now() - requestedAtMs);
        }
        if (ended.size === streams.size) return resolve();
      }
    })().catch(reject);
  });
  await Promise.all(
    batchIds.map((batchId) =>
      commands.deveui.request(
        {
          batchId,
          size,
          prefix: '',
          seed: randomBytes(32).toString('hex'),
          provider: provisioning.provider.address,
          concurrency: 10,
          requestedAt: new Date().toISOString(),
        },
        { projectId: 'bench', actor: 'bench', correlationId: 'bench' },
      ),
    ),
  );
  await complete;
  return [...ended.values()];
}
