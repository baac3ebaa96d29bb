import type { StateCommands } from '../../commands/state/commands.ts';
import type { Positions } from '../../event-store/positions.ts';
import type { StateQueries } from '../../projections/state/queries.ts';
import type { Route } from '../route.ts';
import { bulkRoutes } from './bulk.ts';
import { dedupRoutes } from './dedup.ts';
import { sensorRoutes } from './sensors.ts';

export interface StateRoutesParts {
  readonly commands: StateCommands;
  readonly queries: StateQueries;
  readonly positions: Positions;
}

export function stateRoutes({ commands, queries, positions }: StateRoutesParts): Route[] {
  return [
    ...bulkRoutes(commands),
    ...sensorRoutes(commands, queries, positions),
    ...dedupRoutes(commands),
  ];
}
