import type { ProjectionCommands } from '../../commands/projections/commands.ts';
import type { ProjectionAdministration } from '../../projections/engine/administration.ts';
import type { Positions } from '../../event-store/positions.ts';
import type { LogReader } from '../../event-store/log-reader.ts';
import type { Replay } from '../../projections/engine/replaying/replays.ts';
import type { Route } from '../route.ts';
import { logRoutes } from './log.ts';
import { projectionRoutes } from './projections.ts';
import { rebuildRoutes } from './rebuilds.ts';
import { verificationRoutes } from './verifications.ts';

export interface AdminRoutesParts {
  readonly projections: ProjectionCommands<Replay>;
  readonly administration: ProjectionAdministration;
  readonly positions: Positions;
  readonly log: LogReader;
}

export function adminRoutes({
  projections,
  administration,
  positions,
  log,
}: AdminRoutesParts): Route[] {
  return [
    ...projectionRoutes(projections, administration, positions),
    ...rebuildRoutes(projections, administration, positions),
    ...verificationRoutes(projections, administration, positions),
    ...logRoutes(log, positions),
  ];
}
