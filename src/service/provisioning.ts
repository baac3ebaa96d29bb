import type { LorawanSettings } from '../config.ts';
import { lead } from '../database/leadership.ts';
import { openHttpProvider, providerOrigin } from '../lorawan/http-provider.ts';
import type { LorawanProvider } from '../lorawan/provider.ts';
import type { StreamName } from '../event-store/stream-name.ts';
import { Provisioning, type ProvisioningStatus } from '../reactors/provisioning.ts';
import { systemClock } from '../shared/clock.ts';
import type { Ledger } from './ledger.ts';

/** Registers DevEUIs with one provider, once it is started, whenever no other process does. */
export interface OpenProvisioning {
  readonly provider: LorawanProvider;
  readonly status: ProvisioningStatus;
  /** `only`: no other batch than this one is worked on. */
  start(only?: StreamName): void;
  stop(): Promise<void>;
}

export function openProvisioning(
  { store, snapshots, commands, database, logger }: Ledger,
  {
    url,
    retryMinMs,
    retryMaxMs,
    maxFailures,
    maxConflicts,
    ...options
  }: LorawanSettings & { url: string },
): OpenProvisioning {
  const provider = openHttpProvider({ url, ...options });
  const provisioning = new Provisioning({
    store,
    snapshots,
    commands: commands.deveui,
    provider,
    backoff: { minMs: retryMinMs, maxMs: retryMaxMs },
    maxFailures,
    maxConflicts,
    lead: (signal) => lead(database, `provisioning:${providerOrigin(url)}`, signal, logger),
    clock: systemClock,
    logger,
  });
  return {
    provider,
    get status() {
      return provisioning.status;
    },
    start(only) {
      provisioning.start(only && (({ stream }) => stream === only));
    },
    async stop() {
      await provisioning.stop();
      provider.close();
    },
  };
}
