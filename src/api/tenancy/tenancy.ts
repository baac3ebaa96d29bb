import type { DeviceCommands } from '../../commands/tenancy/device-commands.ts';
import type { CommandHandler } from '../../commands/core/handler.ts';
import type { InventoryQueries } from '../../projections/tenancy/queries/inventory.ts';
import type { KeyDirectory } from '../../projections/tenancy/key-directory/key-directory.ts';
import type { TimelineQueries } from '../../projections/tenancy/queries/timeline.ts';
import type { Route } from '../route.ts';
import { deviceRegistrationRoute } from './device-registration.ts';
import { deviceTransferRoute } from './device-transfer.ts';
import { deviceRoutes } from './devices.ts';
import { inventoryRoutes } from './inventory.ts';
import { keyRoutes } from './keys.ts';
import { memberRoutes } from './members.ts';
import { projectRoutes } from './projects.ts';
import { timelineRoutes } from './timeline.ts';
import { twinRoute, type TwinRouteParts } from './twin.ts';

export interface TenancyRoutesParts extends TwinRouteParts {
  readonly handler: CommandHandler;
  readonly devices: DeviceCommands;
  readonly inventory: InventoryQueries;
  readonly timelines: TimelineQueries;
  readonly directory: KeyDirectory;
}

export function tenancyRoutes({
  handler,
  devices,
  inventory,
  timelines,
  directory,
  ...parts
}: TenancyRoutesParts): Route[] {
  const { queries, positions } = parts;
  return [
    ...projectRoutes(handler, queries),
    ...memberRoutes(handler, queries),
    deviceRegistrationRoute(devices),
    twinRoute(parts),
    ...deviceRoutes(handler, devices, queries),
    deviceTransferRoute(handler, devices),
    ...timelineRoutes(timelines, positions),
    ...inventoryRoutes(handler, inventory),
    ...keyRoutes(handler, queries, directory),
  ];
}
