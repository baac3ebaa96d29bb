import { setTimeout as delay } from 'node:timers/promises';
import type * as streamNameModule from '../../src/event-store/stream-name.ts';
import type * as idsModule from '../../src/shared/ids.ts';
import type { Ledger } from '../../src/main.ts';
import { compiled } from '../build.ts';
import { percentile } from '../statistics.ts';
import { BENCH_PROJECT, sensorEvent, sensorId } from './sensor-event.ts';

/** How long appends took until they were visible, and until they were answered. */
export interface Visibility {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly appendP50Ms: number;
}

/** When the checkpoint of the state read model was seen to move, and to where. */
export interface Move {
  readonly position: bigint;
  readonly atMs: number;
}

/** Beside the runner, which tells of each commit; asking for positions would make it hurry. */
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
  { store }: Ledger,
  {
    revisions,
    perSecond,
    isOver,
  }: {
    /** Of the sensors, by their number; as many as take turns. */
    readonly revisions: (bigint | undefined)[];
    readonly perSecond: number;
    readonly isOver: (count: number) => boolean;
  },
): Promise<PacedAppend[]> {
  const { streamName } = await compiled<typeof streamNameModule>('event-store/stream-name.ts');
  const { newEventId } = await compiled<typeof idsModule>('shared/ids.ts');

  async function append(index: number, dueAtMs: number): Promise<PacedAppend> {
    const sensor = index % revisions.length;
    const events = [{ id: newEventId(), ...sensorEvent(sensor, index) }];
    const stream = streamName('sensor', BENCH_PROJECT, sensorId(sensor));
    const expectedRevision = revisions[sensor] ?? 'no-stream';
    const [appended] = await store.append([{ stream, events, expectedRevision }]);
    if (appended?.outcome !== 'appended') throw new Error('an append was refused');
    revisions[sensor] = appended.revision;
    return { dueAtMs, answeredAtMs: performance.now(), position: appended.position };
  }

  const running: Promise<PacedAppend>[] = [];
  const startedAtMs = performance.now();
  for (let index = 0; !isOver(index); index++) {
    const dueAtMs = startedAtMs + (index * 1_000) / perSecond;
    while (performance.now() < dueAtMs) await delay(1);
    running.push(append(index, dueAtMs));
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
