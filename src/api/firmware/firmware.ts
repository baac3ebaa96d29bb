import type { FirmwareCommands } from '../../commands/firmware/commands.ts';
import type { Route } from '../route.ts';
import { historyRoutes, type HistoryRoutesParts } from './history.ts';
import { reportRoutes } from './reports.ts';

export interface FirmwareRoutesParts extends HistoryRoutesParts {
  readonly commands: FirmwareCommands;
}

export function firmwareRoutes({ commands, ...parts }: FirmwareRoutesParts): Route[] {
  return [...reportRoutes(commands), ...historyRoutes(parts)];
}
