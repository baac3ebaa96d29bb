import type { Positions } from '../../event-store/positions.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { ProjectionStatus } from './administration.ts';
import type { Replay } from './replaying/replays.ts';

/** A projection as admins are shown it, over HTTP and on the command line. */
export function projectionBody(projection: ProjectionStatus, positions: Positions): JsonObject {
  const { position, head, lastError } = projection;
  return {
    name: projection.name,
    version: projection.version,
    generation: projection.generation,
    status: projection.status,
    position: positions.format(position),
    head: positions.format(head),
    lag_events: projection.lagEvents,
    lag_seconds: round(projection.lagSeconds, 3),
    events_per_second: round(projection.eventsPerSecond, 1),
    last_error:
      lastError === undefined
        ? null
        : {
            event_id: lastError.eventId,
            position: positions.formatText(lastError.position),
            message: lastError.message,
          },
  };
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** A rebuild as admins are shown it. `head`: the end of the log. */
export function rebuildBody(replay: Replay, head: bigint, positions: Positions): JsonObject {
  const { progress } = replay;
  const { position, target, percent, eventsPerSecond, secondsLeft } = paceOf(replay, head);
  return {
    id: replay.replayId,
    projection: replay.projection,
    status: progress.status,
    position: positions.formatText(position.toString()),
    target: positions.formatText(target.toString()),
    percent,
    events_per_second: eventsPerSecond,
    seconds_left: secondsLeft,
    started_at: replay.startedAt.toISOString(),
    ended_at: progress.status === 'running' ? null : progress.endedAt.toISOString(),
    error: progress.status === 'running' ? null : (progress.error ?? null),
  };
}

export interface Pace {
  readonly position: bigint;
  readonly target: bigint;
  readonly percent: number;
  readonly eventsPerSecond: number;
  /** Null while nobody can tell. */
  readonly secondsLeft: number | null;
}

/** How far a replay has come, and how fast it goes. `head`: what it is to reach while it runs. */
export function paceOf({ progress }: Replay, head: bigint): Pace {
  const position = progress.position ?? 0n;
  const isRunning = progress.status === 'running';
  const target = (isRunning ? undefined : progress.target) ?? head;
  const share = target === 0n ? 1 : Number(position) / Number(target);
  return {
    position,
    target,
    // At the head it still has to be put in its place.
    percent: progress.status === 'completed' ? 100 : Math.min(99.9, round(100 * share, 1)),
    eventsPerSecond: round(progress.eventsPerSecond, 1),
    secondsLeft: isRunning ? secondsLeft(target - position, progress.positionsPerSecond) : 0,
  };
}

function secondsLeft(positionsLeft: bigint, positionsPerSecond: number): number | null {
  if (positionsPerSecond < 1) return null;
  return round(Math.max(0, Number(positionsLeft)) / positionsPerSecond, 1);
}

/** A verification as admins are shown it. */
export function verificationBody(
  { progress, ...replay }: Replay,
  positions: Positions,
): JsonObject {
  const ended = progress.status === 'running' ? undefined : progress;
  return {
    id: replay.replayId,
    projection: replay.projection,
    status: progress.status,
    position: positions.formatText((progress.position ?? 0n).toString()),
    rows: Number(ended?.rowCount ?? 0n),
    differing_total: Number(ended?.differingCount ?? 0n),
    differing: (ended?.differing ?? []) as unknown as JsonObject[],
    started_at: replay.startedAt.toISOString(),
    ended_at: ended?.endedAt.toISOString() ?? null,
    error: ended?.error ?? null,
  };
}
