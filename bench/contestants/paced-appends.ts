import { setTimeout as delay } from 'node:timers/promises';
import type { Ledger } from '../../src/service/ledger.ts';
import { percentile } from '../statistics.ts';
import type { Append } from './appender.ts';
import { sensorEvent, sensorStream } from './sensor-event.ts';

/** How long appends took until they were visible, and until they were answered. */
export interface Visibility {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly appendP50Ms: number;
}

/** When what is visible was seen to move, and to where. */
export interface Move {
  readonly position: bigint;
  readonly atMs: number;
}

/**
 * The commits of the state read model, as the runner reports them. Asking for positions would wake
 * the runner.
 */
export function watchMoves({ engine: { freshness } }: Ledger): Move[] {
  const moves: Move[] = [];
  const moved = freshness.moved.bind(freshness);
  freshness.moved = (projection, position) => {
    moved(projection, position);
    if (projection === 'state') moves.push({ position, atMs: performance.now() });
  };
  return moves;
}

export interface PacedAppend {
  readonly dueAtMs: number;
  readonly answeredAtMs: number;
  readonly position: bigint;
}

/** Appends at a steady pace, also while earlier ones are not answered yet. */
export async function pacedAppends(
  append: Append,
  {
    revisions,
    perSecond,
    isOver,
  }: {
    /** The revision of each sensor; as many as take turns. */
    readonly revisions: (bigint | undefined)[];
    readonly perSecond: number;
    readonly isOver: (count: number) => boolean;
  },
): Promise<PacedAppend[]> {
  async function appendOne(index: number, dueAtMs: number): Promise<PacedAppend> {
    // The one before it in its stream, when answers take longer than a turn of all sensors.
    await running[index - revisions.length];
    const sensor = index % revisions.length;
    const events = [sensorEvent(sensor, index)];
    const { revision, position } = await append(sensorStream(sensor), events, revisions[sensor]);
    revisions[sensor] = revision;
    return { dueAtMs, answeredAtMs: performance.now(), position };
  }

  const running: Promise<PacedAppend>[] = [];
  const startedAtMs = performance.now();
  for (let index = 0; !isOver(index); index++) {
    const dueAtMs = startedAtMs + (index * 1_000) / perSecond;
    while (performance.now() < dueAtMs) await delay(1);
    running.push(appendOne(index, dueAtMs));
  }
  return Promise.all(running);
}

export async function visibilityOf(
  appends: readonly PacedAppend[],
  moves: Move[],
): Promise<Visibility> {
  const head = appends.reduce((max, { position }) => (position > max ? position : max), 0n);
  while ((moves.at(-1)?.position ?? 0n) < head) await delay(1);
  const visibleMs = appends.map(({ position, dueAtMs }) => {
    const move = moves.find((candidate) => candidate.position >= position);
    return (move?.atMs ?? Number.NaN) - dueAtMs;
  });
  moves.length = 0;
  return {
    p50Ms: percentile(visibleMs, 50),
    p99Ms: percentile(visibleMs, 99),
    maxMs: Math.max(...visibleMs),
    appendP50Ms: percentile(
      appends.map(({ dueAtMs, answeredAtMs }) => answeredAtMs - dueAtMs),
      50,
    ),
  };
}
