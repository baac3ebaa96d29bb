import type { DevEuiCommands } from '../../commands/deveui/commands.ts';
import { DevEuiQueries } from '../../projections/deveui/queries.ts';
import type { RouteParts } from '../route-parts.ts';
import type { Route } from '../route.ts';
import { batchContentRoutes } from './batch-contents.ts';
import { batchRoutes } from './batches.ts';
import { devEuiQueryRoutes } from './deveuis.ts';

export function deveuiRoutes(
  commands: DevEuiCommands,
  { models, provider, draining }: RouteParts,
): Route[] {
  const queries = new DevEuiQueries(models);
  const batches = [
    ...batchRoutes({ commands, queries, provider, draining }),
    ...batchContentRoutes(queries),
  ];
  return [...batches.map(withAlias), ...devEuiQueryRoutes(queries)];
}

/** Existing clients say `/batch`. */
function withAlias(route: Route): Route {
  return { ...route, aliases: [route.path.replace('/batches', '/batch')] };
}
