import type { Route } from '../route.ts';
import { batchContentRoutes } from './batch-contents.ts';
import { batchRoutes, type BatchRoutesParts } from './batches.ts';
import { devEuiQueryRoutes } from './deveuis.ts';

export function devEuiRoutes(parts: BatchRoutesParts): Route[] {
  return [
    ...[...batchRoutes(parts), ...batchContentRoutes(parts.queries)].map(withAlias),
    ...devEuiQueryRoutes(parts.queries),
  ];
}

/** Existing clients say `/batch`. */
function withAlias(route: Route): Route {
  return { ...route, aliases: [route.path.replace('/batches', '/batch')] };
}
