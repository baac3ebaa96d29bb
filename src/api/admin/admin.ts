import type { CommandHandler } from '../../commands/core/handler.ts';
import type { ProjectionAdministration } from '../../projections/engine/administration.ts';
import type { Positions } from '../../event-store/positions.ts';
import type { LogReader } from '../../event-store/log-reader.ts';
import type { Route } from '../route.ts';
import { logRoutes } from './log.ts';
import { ProjectionActions } from './projection-actions.ts';
import { projectionRoutes } from './projections.ts';
import { rebuildRoutes } from './rebuilds.ts';
import { verificationRoutes } from './verifications.ts';

export interface AdminRoutesParts {
  readonly handler: CommandHandler;
  readonly administration: ProjectionAdministration;
  readonly positions: Positions;
  readonly log: LogReader;
}

export function adminRoutes({
  handler,
  administration,
  positions,
  log,
}: AdminRoutesParts): Route[] {
  const actions = new ProjectionActions(handler, administration);
  return [
    ...projectionRoutes(actions, administration, positions),
    ...rebuildRoutes(actions, administration, positions),
    ...verificationRoutes(actions, administration, positions),
    ...logRoutes(log, positions),
  ];
}
