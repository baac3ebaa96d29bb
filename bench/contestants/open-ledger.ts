import { parseConfig } from '../../src/config.ts';
import type * as ledgerModule from '../../src/service/ledger.ts';
import type { Ledger } from '../../src/service/ledger.ts';
import { compiled } from '../build.ts';

/** Ours, as the service composes it, without its API; nothing runs yet. */
export async function openBenchLedger(
  databaseUrl: string,
  eventStoreUrl?: string,
): Promise<Ledger> {
  const { openLedger } = await compiled<typeof ledgerModule>('service/ledger.ts');
  return openLedger(
    {
      ...parseConfig({ RATE_LIMIT_PER_KEY: '1000000' }),
      port: 0,
      databaseUrl,
      eventStoreUrl,
      dataDir: '',
      adminApiKey: undefined,
      roles: ['projections'],
      logLevel: 'warn',
    },
    'tool',
  );
}
