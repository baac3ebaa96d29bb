import type { DedupStrategy, ProjectDedupEvent, SensorEvent } from '../events/state.ts';
import { LedgerError } from '../shared/errors.ts';
import type { JsonObject } from '../shared/json.ts';
import { mergePatch } from '../shared/merge-patch.ts';
import type { Decider } from './decider.ts';
import {
  dedupRule,
  patchDigest,
  type IncomingPatch,
  type RecentPatch,
  type SensorMemory,
} from './state-dedup.ts';

/** The merged state of a sensor may take this much, in characters of JSON. */
const MAX_STATE_SIZE = 256 * 1024;
const MIN_RECOUNT_SIZE = 4 * 1024;
/** What a window remembers at most, the newest: each patch copies it. */
const MAX_RECENT_PATCHES = 1_024;

export interface SensorState extends SensorMemory {
  /** The sensor's own; undefined: the project's. */
  readonly strategy: DedupStrategy | undefined;
  /** Of `current`, in characters of JSON, at most: counted when it may have doubled since. */
  readonly sizeBound: number;
  readonly recountAt: number;
}

export type SensorCommand =
  | {
      readonly type: 'patch';
      readonly sensorId: string;
      readonly incoming: IncomingPatch;
      readonly projectStrategy: DedupStrategy;
    }
  | { readonly type: 'set-dedup'; readonly sensorId: string; readonly strategy: DedupStrategy };

export const sensorDecider: Decider<SensorState, SensorCommand, SensorEvent> = {
  fold: 'sensor:2',

  initialState: {
    current: undefined,
    lastSequence: undefined,
    recent: [],
    strategy: undefined,
    sizeBound: 0,
    recountAt: MIN_RECOUNT_SIZE,
  },

  decide(sensor, command) {
    const { sensorId } = command;
    if (command.type === 'set-dedup') {
      const isSame = JSON.stringify(sensor.strategy) === JSON.stringify(command.strategy);
      return isSame
        ? []
        : [{ type: 'SensorDedupSet', data: { sensorId, strategy: command.strategy } }];
    }
    const { patch, messageId, sequence, receivedAt } = command.incoming;
    const strategy = sensor.strategy ?? command.projectStrategy;
    if (dedupRule(strategy)(sensor, command.incoming) !== 'fresh') return [];
    refuseTooLarge(sensor, patch);
    return [
      {
        type: 'SensorPatched',
        data: {
          sensorId,
          patch,
          receivedAt: receivedAt.toISOString(),
          ...(messageId !== undefined && { messageId }),
          ...(sequence !== undefined && { sequence }),
          ...(strategy.strategy === 'window' && { windowSeconds: strategy.seconds }),
        },
      },
    ];
  },

  evolve(sensor, event) {
    if (event.type === 'SensorDedupSet') return { ...sensor, strategy: event.data.strategy };
    const { patch, sequence, windowSeconds, receivedAt } = event.data;
    const current = mergePatch(sensor.current, patch);
    return {
      strategy: sensor.strategy,
      current,
      lastSequence: latest(sensor.lastSequence, sequence),
      recent:
        windowSeconds === undefined ? [] : within(windowSeconds, sensor.recent, patch, receivedAt),
      ...sizeAfter(sensor, current, patch),
    };
  },

  sizeOf: (sensor) => 2 * Math.min(sensor.sizeBound, MAX_STATE_SIZE) + 100 * sensor.recent.length,
};

/** The project's own strategy, in a stream apart: patches read it, and tenancy need not know. */
export interface ProjectDedup {
  readonly strategy: DedupStrategy;
}

export const projectDedupDecider: Decider<
  ProjectDedup,
  { readonly strategy: DedupStrategy },
  ProjectDedupEvent
> = {
  fold: 'project-dedup:1',
  initialState: { strategy: { strategy: 'unchanged' } },
  decide: (current, { strategy }) =>
    JSON.stringify(current.strategy) === JSON.stringify(strategy)
      ? []
      : [{ type: 'ProjectDedupSet', data: { strategy } }],
  evolve: (_current, event) => ({ strategy: event.data.strategy }),
  sizeOf: () => 100,
};

// Patches mostly replace what is there: added up for ever, they would make a small state count large.
function sizeAfter(
  { sizeBound, recountAt }: SensorState,
  current: JsonObject,
  patch: JsonObject,
): Pick<SensorState, 'sizeBound' | 'recountAt'> {
  const bound = sizeBound + JSON.stringify(patch).length;
  if (bound <= recountAt) return { sizeBound: bound, recountAt };
  const size = JSON.stringify(current).length;
  return { sizeBound: size, recountAt: Math.max(2 * size, MIN_RECOUNT_SIZE) };
}

function refuseTooLarge(sensor: SensorState, patch: JsonObject): void {
  const bound = sensor.sizeBound + JSON.stringify(patch).length;
  if (bound <= MAX_STATE_SIZE) return;
  const size = JSON.stringify(mergePatch(sensor.current, patch)).length;
  if (size <= MAX_STATE_SIZE) return;
  throw new LedgerError(
    'state-too-large',
    `The state would take ${size} characters of ${MAX_STATE_SIZE}: remove keys by patching them with null.`,
  );
}

function latest(last: number | undefined, sequence: number | undefined): number | undefined {
  if (sequence === undefined || last === undefined) return sequence ?? last;
  return Math.max(last, sequence);
}

function within(
  seconds: number,
  recent: readonly RecentPatch[],
  patch: JsonObject,
  receivedAt: string,
): RecentPatch[] {
  const receivedAtMs = Date.parse(receivedAt);
  const since = receivedAtMs - seconds * 1_000;
  const kept = recent.filter((past) => past.receivedAtMs > since);
  return [...kept.slice(1 - MAX_RECENT_PATCHES), { digest: patchDigest(patch), receivedAtMs }];
}
