import type { UsageCommands } from '../../commands/usage.ts';
import type { Positions } from '../../projections/engine/as-of.ts';
import type { UsageQueries } from '../../projections/usage/usage-queries.ts';
import type { UsageRejections } from '../../projections/usage/usage-rejections.ts';
import type { UsageTotals } from '../../projections/usage/usage-totals.ts';
import type { Route } from '../route.ts';
import { byBucketRoutes } from './by-bucket.ts';
import { recordRoutes } from './records.ts';
import { rejectedRoutes } from './rejected.ts';
import { totalRoutes } from './totals.ts';

export interface UsageRoutesParts {
  readonly commands: UsageCommands;
  readonly queries: UsageQueries;
  readonly totals: UsageTotals;
  readonly rejections: UsageRejections;
  readonly positions: Positions;
}

export function usageRoutes(parts: UsageRoutesParts): Route[] {
  const { commands, queries, totals, rejections, positions } = parts;
  return [
    ...recordRoutes(commands),
    ...byBucketRoutes(queries, positions),
    ...totalRoutes(totals, positions),
    ...rejectedRoutes(rejections),
  ];
}
