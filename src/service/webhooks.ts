import type { Config } from '../config.ts';
import { publishedTypes } from '../events/published.ts';
import { SharedFeed } from '../event-store/shared-feed.ts';
import { WebhookDeliverer } from '../followers/webhooks/deliverer.ts';
import type { Ledger } from './ledger.ts';

/** Sends webhooks, once it is started. */
export function openWebhooks(
  { arePrivateWebhooksAllowed: allowPrivate }: Pick<Config, 'arePrivateWebhooksAllowed'>,
  { store, snapshots, database, commands, logger, processId }: Ledger,
): WebhookDeliverer {
  return new WebhookDeliverer({
    store,
    feed: new SharedFeed(store, publishedTypes),
    snapshots,
    database,
    commands: commands.webhooks,
    logger,
    processId,
    client: { allowPrivate },
  });
}
