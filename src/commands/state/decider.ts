import type { DedupStrategy, ProjectDedupEvent, SensorEvent } from '../../events/state.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { JsonObject } from '../../shared/json.ts';
import { mergePatch } from '../../shared/merge-patch.ts';
import type { Decider } from '../core/decider.ts';
import {
  dedupRule,
  patchDigest,
  type IncomingPatch,
  type RecentPatch,
  type SensorMemory,
} from './dedup.ts';

/** The merged state of a sensor may take this much, in characters of JSON. */
const MAX_STATE_SIZE = 256 * 1024;
const MIN_RECOUNT_SIZE = 4 * 1024;
/** What a window remembers at most, the newest: each patch copies it. */
const MAX_RECENT_PATCHES = 1_024;

export interface SensorState extends SensorMemory {
  /** The sensor's own; undefined: the project's. */
  readonly strategy: DedupStrategy | undefined;
  /** Numbers the settings of its own strategy, each of which forgets what was remembered before. */
  readonly ownMemory: number;
  /** The setting of the project's strategy that what is remembered belongs to. */
  readonly projectMemory: number;
  /** Whether anything was recorded since its own strategy was set. */
  readonly isUsed: boolean;
  /** At most so large is `current`, in characters of JSON: counted when it may have doubled. */
  readonly sizeBound: number;
  readonly recountAt: number;
}

export type SensorCommand =
  | {
      readonly type: 'patch';
      readonly sensorId: string;
      readonly incoming: IncomingPatch;
      readonly projectStrategy: DedupStrategy;
      /** Which setting of the project's strategy. Default: 0, of earlier releases. */
      readonly projectMemory?: number;
    }
  | { readonly type: 'set-dedup'; readonly sensorId: string; readonly strategy: DedupStrategy };

export const sensorDecider: Decider<SensorState, SensorCommand, SensorEvent> = {
  fold: 'sensor:3',
  isAnsweredByRevision: true,

  initialState: {
    current: undefined,
    lastSequence: undefined,
    recent: [],
    strategy: undefined,
    ownMemory: 0,
    projectMemory: 0,
    isUsed: false,
    sizeBound: 0,
    recountAt: MIN_RECOUNT_SIZE,
  },

  decide(sensor, command) {
    const { sensorId } = command;
    if (command.type === 'set-dedup') {
      const isSame = JSON.stringify(sensor.strategy) === JSON.stringify(command.strategy);
      // The same strategy is set again to forget what was remembered, if there is anything.
      if (isSame && !sensor.isUsed) return [];
      const { strategy } = command;
      const memory = sensor.ownMemory + 1;
      return [{ type: 'SensorDedupSet', data: { sensorId, strategy, memory } }];
    }
    const { patch, messageId, sequence, receivedAt } = command.incoming;
    const strategy = sensor.strategy ?? command.projectStrategy;
    const projectMemory = sensor.strategy === undefined ? (command.projectMemory ?? 0) : 0;
    const remembered = remembering(sensor, projectMemory);
    if (dedupRule(strategy)(remembered, command.incoming) !== 'fresh') return [];
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
          ...(projectMemory > 0 && { memory: projectMemory }),
        },
      },
    ];
  },

  evolve(before, event) {
    if (event.type === 'SensorDedupSet') {
      const { strategy, memory = before.ownMemory } = event.data;
      return { ...before, ...FORGOTTEN, strategy, ownMemory: memory, isUsed: false };
    }
    const { patch, sequence, windowSeconds, receivedAt, memory = 0 } = event.data;
    const sensor = remembering(before, memory);
    const current = mergePatch(sensor.current, patch);
    return {
      ...sensor,
      isUsed: true,
      current,
      // What is recorded under `sequence` is fresh, hence the newest, also where the numbers wrap.
      lastSequence: sequence ?? sensor.lastSequence,
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
  /** Numbers the settings, each of which forgets what was remembered before. */
  readonly memory: number;
}

export const projectDedupDecider: Decider<
  ProjectDedup,
  { readonly strategy: DedupStrategy },
  ProjectDedupEvent
> = {
  fold: 'project-dedup:2',
  initialState: { strategy: { strategy: 'unchanged' }, memory: 0 },
  // The same strategy is set again to forget what all sensors remember.
  decide: ({ memory }, { strategy }) => [
    { type: 'ProjectDedupSet', data: { strategy, memory: memory + 1 } },
  ],
  evolve: ({ memory }, event) => ({
    strategy: event.data.strategy,
    memory: event.data.memory ?? memory,
  }),
  sizeOf: () => 100,
};

const FORGOTTEN = { lastSequence: undefined, recent: [] } as const;

/**
 * The sensor as a setting of the project's strategy sees it: what an earlier one remembered is
 * forgotten.
 */
function remembering(sensor: SensorState, projectMemory: number): SensorState {
  if (projectMemory <= sensor.projectMemory) return sensor;
  return { ...sensor, ...FORGOTTEN, projectMemory };
}

// Patches mostly replace what is there: added up for ever, they would make a small state count
// large.
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
    `The state would have ${size} characters, more than ${MAX_STATE_SIZE}: remove members by ` +
      'patching them with null.',
  );
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
