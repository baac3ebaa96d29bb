import type { ProjectionEvent } from '../../events/projections.ts';
import type { Decider } from '../core/decider.ts';

export interface ProjectionControl {
  readonly isPaused: boolean;
  /** Ids of events. */
  readonly skipped: readonly string[];
}

/**
 * What admins do with a projection, for the record, and a skip for every replay, too. The command
 * is the event that it makes, unless nothing would be other for it.
 */
export const projectionDecider: Decider<ProjectionControl, ProjectionEvent, ProjectionEvent> = {
  fold: 'projection:1',
  initialState: { isPaused: false, skipped: [] },

  decide({ isPaused, skipped }, command) {
    switch (command.type) {
      case 'ProjectionPaused':
        return isPaused ? [] : [command];
      case 'ProjectionResumed':
        return isPaused ? [command] : [];
      case 'ProjectionEventSkipped':
        return skipped.includes(command.data.eventId) ? [] : [command];
      case 'ProjectionRebuildRequested':
      case 'ProjectionRebuildCancelled':
      case 'ProjectionVerificationRequested':
      case 'ProjectionRetried':
        return [command];
    }
  },

  evolve(control, event) {
    switch (event.type) {
      case 'ProjectionPaused':
        return { ...control, isPaused: true };
      case 'ProjectionResumed':
        return { ...control, isPaused: false };
      case 'ProjectionEventSkipped':
        return { ...control, skipped: [...control.skipped, event.data.eventId] };
      case 'ProjectionRebuildRequested':
      case 'ProjectionRebuildCancelled':
      case 'ProjectionVerificationRequested':
      case 'ProjectionRetried':
        return control;
    }
  },

  sizeOf: ({ skipped }) => 100 * (1 + skipped.length),
};
