import type { FirmwareCommands } from '../../commands/firmware/commands.ts';
import { FirmwareQueries } from '../../projections/firmware/queries.ts';
import type { RouteParts } from '../route-parts.ts';
import type { Route } from '../route.ts';
import { historyRoutes } from './history.ts';
import { reportRoutes } from './reports.ts';

export function firmwareRoutes(commands: FirmwareCommands, { models }: RouteParts): Route[] {
  const queries = new FirmwareQueries(models);
  return [...reportRoutes(commands), ...historyRoutes(queries)];
}
