import type { Config } from '../config.ts';
import { WebhookDeliverer } from '../followers/webhooks/deliverer.ts';
import type { Following } from './following.ts';
import type { Ledger } from './ledger.ts';

/** Sends webhooks, once it is started. */
export function openWebhooks(
  { arePrivateWebhooksAllowed: allowPrivate }: Pick<Config, 'arePrivateWebhooksAllowed'>,
  { store, snapshots, database, commands, logger, processId }: Ledger,
  { followers }: Pick<Following, 'followers'>,
): WebhookDeliverer {
  return new WebhookDeliverer({
    store,
    feed: followers.feed,
    snapshots,
    database,
    commands: commands.webhooks,
    logger,
    processId,
    client: { allowPrivate },
  });
}
