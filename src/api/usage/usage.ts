import type { UsageCommands } from '../../commands/usage/commands.ts';
import type { Positions } from '../../event-store/positions.ts';
import type { UsageQueries } from '../../projections/usage/queries.ts';
import type { UsageRejections } from '../../projections/usage/queries/rejections.ts';
import type { UsageTotals } from '../../projections/usage/queries/totals.ts';
import { FairSlots } from '../../shared/fair-slots.ts';
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

/**
 * Answers that read or reckon much: so many at once, fewer than the process has connections for
 * reads, and few for each project, so that other reads, and other projects, have room beside them.
 */
const HEAVY_READS = { slots: 6, slotsPerShare: 2, waitingPerShare: 200 };

export function usageRoutes(parts: UsageRoutesParts): Route[] {
  const { commands, queries, totals, rejections, positions } = parts;
  const heavyReads = new FairSlots(HEAVY_READS);
  return [
    ...recordRoutes(commands),
    ...byBucketRoutes(queries, positions, heavyReads),
    ...totalRoutes(totals, positions, heavyReads),
    ...rejectedRoutes(rejections),
  ];
}
