import type { CommandHandler } from '../../commands/handler.ts';
import type { Positions } from '../../projections/engine/as-of.ts';
import type { StateQueries } from '../../projections/state/state-queries.ts';
import type { TenancyQueries } from '../../projections/tenancy/tenancy-queries.ts';
import type { Route } from '../route.ts';
import { deviceRoutes } from './devices.ts';
import { keyRoutes } from './keys.ts';
import { memberRoutes } from './members.ts';
import { projectRoutes } from './projects.ts';

export interface TenancyRoutesParts {
  readonly handler: CommandHandler;
  readonly queries: TenancyQueries;
  readonly states: StateQueries;
  readonly positions: Positions;
}

export function tenancyRoutes({
  handler,
  queries,
  states,
  positions,
}: TenancyRoutesParts): Route[] {
  return [
    ...projectRoutes(handler, queries),
    ...memberRoutes(handler, queries),
    ...deviceRoutes(handler, queries, states, positions),
    ...keyRoutes(handler, queries),
  ];
}
