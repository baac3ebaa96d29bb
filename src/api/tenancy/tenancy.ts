import type { TenancyCommands } from '../../commands/tenancy/commands.ts';
import { FirmwareQueries } from '../../projections/firmware/queries.ts';
import { StateQueries } from '../../projections/state/queries.ts';
import { TenancyQueries } from '../../projections/tenancy/queries.ts';
import { InventoryQueries } from '../../projections/tenancy/queries/inventory.ts';
import { TimelineQueries } from '../../projections/tenancy/queries/timeline.ts';
import { UsageQueries } from '../../projections/usage/queries.ts';
import type { RouteParts } from '../route-parts.ts';
import type { Route } from '../route.ts';
import { currentKeyRoute } from './current-key.ts';
import { deviceRegistrationRoute } from './device-registration.ts';
import { deviceTransferRoute } from './device-transfer.ts';
import { deviceRoutes } from './devices.ts';
import { inventoryRoutes } from './inventory.ts';
import { keyRoutes } from './keys.ts';
import { memberRoutes } from './members.ts';
import { projectRoutes } from './projects.ts';
import { timelineRoutes } from './timeline.ts';
import { twinRoute } from './twin.ts';

export function tenancyRoutes(
  commands: TenancyCommands,
  { models, timeline, directory }: RouteParts,
): Route[] {
  const queries = new TenancyQueries(models);
  const states = new StateQueries(models);
  const firmware = new FirmwareQueries(models);
  const usage = new UsageQueries(models);
  return [
    ...projectRoutes(commands, queries),
    ...memberRoutes(commands, queries),
    deviceRegistrationRoute(commands.devices),
    twinRoute({ models, queries, states, firmware, usage }),
    ...deviceRoutes(commands.devices, queries),
    deviceTransferRoute(commands),
    ...timelineRoutes(new TimelineQueries(models, timeline), Object.keys(timeline)),
    ...inventoryRoutes(commands, new InventoryQueries(models)),
    currentKeyRoute(),
    ...keyRoutes(commands, queries, directory),
  ];
}
