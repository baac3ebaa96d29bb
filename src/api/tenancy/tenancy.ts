import type { CommandHandler } from '../../commands/handler.ts';
import type { Positions } from '../../projections/engine/as-of.ts';
import type { StateQueries } from '../../projections/state/state-queries.ts';
import type { TenancyQueries } from '../../projections/tenancy/tenancy-queries.ts';
import type { TimelineQueries } from '../../projections/tenancy/timeline-queries.ts';
import type { Route } from '../route.ts';
import { deviceRoutes } from './devices.ts';
import { keyRoutes } from './keys.ts';
import { memberRoutes } from './members.ts';
import { projectRoutes } from './projects.ts';
import { timelineRoutes } from './timeline.ts';

export interface TenancyRoutesParts {
  readonly handler: CommandHandler;
  readonly queries: TenancyQueries;
  readonly states: StateQueries;
  readonly timelines: TimelineQueries;
  readonly positions: Positions;
}

export function tenancyRoutes({
  handler,
  queries,
  states,
  timelines,
  positions,
}: TenancyRoutesParts): Route[] {
  return [
    ...projectRoutes(handler, queries),
    ...memberRoutes(handler, queries),
    ...deviceRoutes(handler, queries, states, positions),
    ...timelineRoutes(timelines),
    ...keyRoutes(handler, queries),
  ];
}
