import type { WebhookCommands } from '../../commands/webhooks/commands.ts';
import { WebhookQueries } from '../../projections/webhooks/queries.ts';
import type { RouteParts } from '../route-parts.ts';
import type { Route } from '../route.ts';
import { webhookCommandRoutes } from './commands.ts';
import { webhookReadRoutes } from './reads.ts';

export function webhookRoutes(commands: WebhookCommands, parts: RouteParts): Route[] {
  const queries = new WebhookQueries(parts.models);
  return [...webhookCommandRoutes(commands, parts), ...webhookReadRoutes(queries, parts)];
}
