import type { UsageCommands } from '../../commands/usage/commands.ts';
import { UsageQueries } from '../../projections/usage/queries.ts';
import { UsageRejections } from '../../projections/usage/queries/rejections.ts';
import { UsageTotals } from '../../projections/usage/queries/totals.ts';
import { FairSlots } from '../../shared/fair-slots.ts';
import type { RouteParts } from '../route-parts.ts';
import type { Route } from '../route.ts';
import { byBucketRoutes } from './by-bucket.ts';
import { recordRoutes } from './records.ts';
import { rejectedRoutes } from './rejected.ts';
import { totalRoutes } from './totals.ts';

/**
 * Answers that read or reckon much: so many at once, fewer than the process has connections for
 * reads, and few for each project, so that other reads, and other projects, have room beside them.
 */
const HEAVY_READS = { slots: 6, slotsPerShare: 2, waitingPerShare: 200 };

export function usageRoutes(commands: UsageCommands, { models }: RouteParts): Route[] {
  const heavyReads = new FairSlots(HEAVY_READS);
  return [
    ...recordRoutes(commands),
    ...byBucketRoutes(new UsageQueries(models), heavyReads),
    ...totalRoutes(new UsageTotals(models), heavyReads),
    ...rejectedRoutes(new UsageRejections(models)),
  ];
}
