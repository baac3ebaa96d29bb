import type { Positions } from '../event-store/positions.ts';
import type { WebhookDeliveries } from '../followers/webhooks/deliveries.ts';
import type { ReadModels } from '../projections/engine/reading/read-models.ts';
import type { TimelineParts } from '../projections/timeline.ts';
import type { KeyDirectory } from '../projections/tenancy/key-directory/key-directory.ts';

/** What the routes of each domain are made of, beside its commands. */
export interface RouteParts {
  /** What each domain adds to the timeline of a device. */
  readonly timeline: TimelineParts;
  readonly models: ReadModels;
  readonly positions: Positions;
  readonly directory: KeyDirectory;
  /** The address of the LoRaWAN provider; undefined where none is configured. */
  readonly provider: string | undefined;
  readonly deliveries: WebhookDeliveries;
  /** Whether webhooks may be sent to addresses that are not public. */
  readonly arePrivateWebhooksAllowed: boolean;
  /** Aborted when the process is to end: whoever waits is answered with what there is. */
  readonly draining: AbortSignal;
}
