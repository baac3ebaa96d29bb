import type { StateCommands } from '../../commands/state/commands.ts';
import { StateQueries } from '../../projections/state/queries.ts';
import type { RouteParts } from '../route-parts.ts';
import type { Route } from '../route.ts';
import { bulkRoutes } from './bulk.ts';
import { dedupRoutes } from './dedup.ts';
import { sensorRoutes } from './sensors.ts';

export function stateRoutes(commands: StateCommands, { models }: RouteParts): Route[] {
  return [
    ...bulkRoutes(commands),
    ...sensorRoutes(commands, new StateQueries(models)),
    ...dedupRoutes(commands),
  ];
}
