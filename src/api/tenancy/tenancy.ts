import type { CommandHandler } from '../../commands/handler.ts';
import type { Positions } from '../../projections/engine/as-of.ts';
import type { FirmwareQueries } from '../../projections/firmware/firmware-queries.ts';
import type { StateQueries } from '../../projections/state/state-queries.ts';
import type { InventoryQueries } from '../../projections/tenancy/inventory-queries.ts';
import type { TenancyQueries } from '../../projections/tenancy/tenancy-queries.ts';
import type { TimelineQueries } from '../../projections/tenancy/timeline-queries.ts';
import type { Route } from '../route.ts';
import { deviceRegistrationRoute } from './device-registration.ts';
import { deviceTransferRoute } from './device-transfer.ts';
import { deviceRoutes } from './devices.ts';
import { inventoryRoutes } from './inventory.ts';
import { keyRoutes } from './keys.ts';
import { memberRoutes } from './members.ts';
import { projectRoutes } from './projects.ts';
import { timelineRoutes } from './timeline.ts';

export interface TenancyRoutesParts {
  readonly handler: CommandHandler;
  readonly queries: TenancyQueries;
  readonly states: StateQueries;
  readonly firmware: FirmwareQueries;
  readonly inventory: InventoryQueries;
  readonly timelines: TimelineQueries;
  readonly positions: Positions;
}

export function tenancyRoutes({
  handler,
  queries,
  states,
  firmware,
  inventory,
  timelines,
  positions,
}: TenancyRoutesParts): Route[] {
  return [
    ...projectRoutes(handler, queries),
    ...memberRoutes(handler, queries),
    deviceRegistrationRoute(handler),
    ...deviceRoutes(handler, queries, states, firmware, positions),
    deviceTransferRoute(handler),
    ...timelineRoutes(timelines),
    ...inventoryRoutes(handler, inventory),
    ...keyRoutes(handler, queries),
  ];
}
