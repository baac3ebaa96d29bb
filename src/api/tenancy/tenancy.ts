import type { InventoryQueries } from '../../projections/tenancy/inventory-queries.ts';
import type { TimelineQueries } from '../../projections/tenancy/timeline-queries.ts';
import type { Route } from '../route.ts';
import { deviceRegistrationRoute } from './device-registration.ts';
import { deviceTransferRoute } from './device-transfer.ts';
import { deviceRoutes, type DeviceRoutesParts } from './devices.ts';
import { inventoryRoutes } from './inventory.ts';
import { keyRoutes } from './keys.ts';
import { memberRoutes } from './members.ts';
import { projectRoutes } from './projects.ts';
import { timelineRoutes } from './timeline.ts';

export interface TenancyRoutesParts extends DeviceRoutesParts {
  readonly inventory: InventoryQueries;
  readonly timelines: TimelineQueries;
}

export function tenancyRoutes({ inventory, timelines, ...parts }: TenancyRoutesParts): Route[] {
  const { handler, queries } = parts;
  return [
    ...projectRoutes(handler, queries),
    ...memberRoutes(handler, queries),
    deviceRegistrationRoute(handler),
    ...deviceRoutes(parts),
    deviceTransferRoute(handler),
    ...timelineRoutes(timelines),
    ...inventoryRoutes(handler, inventory),
    ...keyRoutes(handler, queries),
  ];
}
