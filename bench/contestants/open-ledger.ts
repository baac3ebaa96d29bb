import type * as mainModule from '../../src/main.ts';
import type { Ledger } from '../../src/main.ts';
import { compiled } from '../build.ts';

/** Ours, as the service composes it, without its API; nothing runs yet. */
export async function openBenchLedger(
  databaseUrl: string,
  eventStoreUrl?: string,
): Promise<Ledger> {
  const { openLedger } = await compiled<typeof mainModule>('main.ts');
  return openLedger(
    {
      host: '127.0.0.1',
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
