import type { SimEvent } from '../../events/tenancy.ts';
import { streamName, type StreamName } from '../../event-store/stream-name.ts';
import type { Decider } from '../core/decider.ts';

/** From `from` on; null: from the beginning. */
export interface SimAssignment {
  readonly from: string | null;
  /** Null: no organization. */
  readonly orgId: string | null;
}

export interface SimState {
  /** In the order of their times, one for each: the last that was recorded for it. */
  readonly assignments: readonly SimAssignment[];
  /**
   * When the last assignment "from now" was recorded: now is not before it, whatever a clock says.
   */
  readonly recordedUpTo: string | null;
}

export interface AssignSim {
  readonly type: 'assign';
  readonly simCardId: string;
  /** Null: no organization. */
  readonly orgId: string | null;
  /** Without it: the first assignment is from the beginning, a later one from now. */
  readonly from?: Date;
  readonly now: Date;
}

export const simDecider: Decider<SimState, AssignSim, SimEvent> = {
  fold: 'sim:2',
  isTimedByLog: true,
  initialState: { assignments: [], recordedUpTo: null },

  decide(sim, { simCardId, orgId, from: given, now }) {
    const from = given?.toISOString() ?? (sim.assignments.length > 0 ? presentOf(sim, now) : null);
    const before = assignmentAt(sim, from);
    // A time that was given is kept even where the organization holds the SIM already: another's
    // assignment may yet come in between, and must end there. So the order in which they come does
    // not matter, and the same file sent again finds each of its times.
    const isKept = given === undefined || before?.from === from;
    if (isKept && before?.orgId === orgId) return [];
    const isFromRecording = given === undefined && from !== null;
    return [
      {
        type: 'SimAssigned',
        data: { simCardId, orgId, from, ...(isFromRecording && { isFromRecording }) },
      },
    ];
  },

  evolve({ assignments, recordedUpTo }, { data: { orgId, from, isFromRecording = false } }) {
    const others = assignments.filter((assignment) => assignment.from !== from);
    return {
      assignments: [...others, { from, orgId }].toSorted(byTime),
      recordedUpTo: isFromRecording ? from : recordedUpTo,
    };
  },

  sizeOf: ({ assignments }) => 100 + 100 * assignments.length,
};

/** Now, by the clock of this process, or by the log where that is further. */
export function presentOf({ recordedUpTo }: SimState, now: Date): string {
  const time = now.toISOString();
  return recordedUpTo !== null && recordedUpTo > time ? recordedUpTo : time;
}

/** The assignment that counts at a time; null: at the beginning. */
export function assignmentAt(
  { assignments }: SimState,
  time: string | null,
): SimAssignment | undefined {
  return assignments.findLast(({ from }) => from === null || (time !== null && from <= time));
}

// Texts of one length, from `toISOString`: their order is that of the times.
function byTime(a: SimAssignment, b: SimAssignment): number {
  const [first, second] = [a.from ?? '', b.from ?? ''];
  return first < second ? -1 : Number(first > second);
}

export function simStream(projectId: string, simCardId: string): StreamName {
  return streamName('sim', projectId, simCardId);
}
