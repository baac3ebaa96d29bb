import type { DedupStrategy, ProjectDedupEvent, SensorEvent } from '../events/state.ts';
import { recordable } from '../events/registry.ts';
import { dedupStrategySchema } from '../events/state.ts';
import type { EventStore, Position } from '../event-store/port.ts';
import { streamName, type StreamName } from '../event-store/stream-name.ts';
import { LedgerError } from '../shared/errors.ts';
import { nameBasedId, newEventId } from '../shared/ids.ts';
import type { JsonObject } from '../shared/json.ts';
import { mergePatch } from '../shared/merge-patch.ts';
import type { Decider } from './decider.ts';
import type { CommandContext, CommandHandler, CommandIdentity, Handled } from './handler.ts';
import {
  dedupRule,
  patchDigest,
  type IncomingPatch,
  type RecentPatch,
  type SensorMemory,
} from './state-dedup.ts';

export { dedupStrategySchema };

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

/** The project's own strategy, in a stream apart: patches read it, and tenancy need not know. */
interface ProjectDedup {
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

export type PatchResult =
  | { readonly outcome: 'patched'; readonly revision: bigint; readonly position: Position }
  | {
      readonly outcome: 'deduplicated';
      readonly by: DedupStrategy['strategy'];
      readonly revision: bigint;
      readonly position: Position;
    };

/** How old the project's strategy may be: another process's change counts within a second. */
const STRATEGY_MAX_AGE_MS = 1_000;
/** Turns a message's identity into a UUID (RFC 9562, version 5). */
const MESSAGE_NAMESPACE = '5f0e7b0a-95a4-4c53-9d0e-7a3b8f1c6d21';

export class StateCommands {
  readonly #handler: CommandHandler;
  readonly #store: EventStore;
  /** By sensor, resolved when the patch that came last has been handed on. */
  readonly #turns = new Map<StreamName, Promise<unknown>>();

  constructor(handler: CommandHandler, store: EventStore) {
    this.#handler = handler;
    this.#store = store;
  }

  /**
   * Patches of one sensor are applied in the order in which they are given, also when they are given
   * at once.
   * @throws LedgerError `state-too-large`, and what the precondition in `context` throws.
   */
  async patch(
    sensorId: string,
    incoming: IncomingPatch,
    context: CommandContext,
  ): Promise<PatchResult> {
    const stream = sensorStream(context.projectId, sensorId);
    const before = this.#turns.get(stream);
    const turn = this.#prepare(stream, sensorId, incoming, context).then(
      async ({ projectStrategy, claim }) => {
        await before?.catch(() => undefined);
        const handled = this.#handler.execute(
          sensorDecider,
          stream,
          { type: 'patch', sensorId, incoming, projectStrategy },
          {
            ...context,
            ...(claim !== undefined && { identity: claim.identity }),
            ...(context.precondition && { precondition: ofSensor(context.precondition) }),
          },
        );
        // In an object: the next one waits for the handing on, not for the outcome.
        return { handled, isClaimed: claim?.isOwn === false, projectStrategy };
      },
    );
    this.#turns.set(stream, turn);
    try {
      const { handled, isClaimed, projectStrategy } = await turn;
      return patchResult(await handled, isClaimed, projectStrategy);
    } finally {
      if (this.#turns.get(stream) === turn) this.#turns.delete(stream);
    }
  }

  /** What a patch is decided with; how long that takes to find out differs from patch to patch. */
  async #prepare(
    stream: StreamName,
    sensorId: string,
    { messageId }: IncomingPatch,
    context: CommandContext,
  ): Promise<{ projectStrategy: DedupStrategy; claim: Claim | undefined }> {
    const project = await this.#handler.peek(
      projectDedupDecider,
      projectDedupStream(context.projectId),
      STRATEGY_MAX_AGE_MS,
    );
    const projectStrategy = project.state.strategy;
    const claim =
      messageId === undefined
        ? undefined
        : await this.#claim(stream, sensorId, messageId, projectStrategy, context);
    return { projectStrategy, claim };
  }

  setSensorDedup(
    sensorId: string,
    strategy: DedupStrategy,
    context: CommandContext,
  ): Promise<Handled<SensorState>> {
    return this.#handler.execute(
      sensorDecider,
      sensorStream(context.projectId, sensorId),
      { type: 'set-dedup', sensorId, strategy },
      context,
    );
  }

  setProjectDedup(
    strategy: DedupStrategy,
    context: CommandContext,
  ): Promise<Handled<ProjectDedup>> {
    return this.#handler.execute(
      projectDedupDecider,
      projectDedupStream(context.projectId),
      { strategy },
      context,
    );
  }

  /**
   * Claims a message id, when the sensor goes by them. The first claim takes the stream of that id;
   * a later one is refused by the log, and learns from the first where the patch must stand, if it
   * was ever written: between claim and patch a process may die, and the redelivery then writes it.
   */
  async #claim(
    sensor: StreamName,
    sensorId: string,
    messageId: string,
    projectStrategy: DedupStrategy,
    context: CommandContext,
  ): Promise<Claim | undefined> {
    const folded = await this.#handler.peek(sensorDecider, sensor, STRATEGY_MAX_AGE_MS);
    const { strategy } = folded.state.strategy ?? projectStrategy;
    if (strategy !== 'message-id') return undefined;
    const stream = streamName('message', context.projectId, sensorId, messageId);
    const id = nameBasedId(MESSAGE_NAMESPACE, stream);
    const request = context.identity;
    const sensorRevision = folded.revision === 'no-stream' ? null : folded.revision.toString();
    const [claimed] = await this.#store.append([
      {
        stream,
        expectedRevision: 'no-stream',
        events: [
          {
            // A request that is repeated repeats its claim, and is answered as the first time.
            id:
              request === undefined
                ? newEventId()
                : nameBasedId(request.id, `${request.ordinal ?? 0}:${stream}`),
            ...recordable(
              { type: 'MessageClaimed', data: { sensorId, messageId, sensorRevision } },
              {
                projectId: context.projectId,
                actor: context.actor,
                correlationId: context.correlationId,
                ...(request && { causationId: request.id }),
              },
            ),
          },
        ],
      },
    ]);
    if (claimed?.outcome === 'appended') {
      return { identity: { id, reservedAt: claimed.position }, isOwn: request !== undefined };
    }
    for await (const first of this.#store.readStream(stream, { limit: 1 })) {
      const revision = first.data['sensorRevision'];
      return {
        identity: {
          id,
          reservedAt: first.position,
          reservedAtRevision: typeof revision === 'string' ? BigInt(revision) : 'no-stream',
        },
        isOwn: false,
      };
    }
    throw new Error(`stream ${stream} refused an event and holds none`);
  }
}

/** A sensor that has a rule of its own and was never patched is not there yet. */
function ofSensor(
  precondition: NonNullable<CommandContext['precondition']>,
): NonNullable<CommandContext['precondition']> {
  return (revision, state) => {
    const isThere = (state as SensorState).current !== undefined;
    precondition(isThere ? revision : 'no-stream', state);
  };
}

interface Claim {
  readonly identity: CommandIdentity;
  /** Made by this very request, now or when it ran before: a patch found there is its own. */
  readonly isOwn: boolean;
}

export function sensorStream(projectId: string, sensorId: string): StreamName {
  return streamName('sensor', projectId, sensorId);
}

function projectDedupStream(projectId: string): StreamName {
  return streamName('dedup', projectId, 'project');
}

function patchResult(
  handled: Handled<SensorState>,
  isRedelivery: boolean,
  projectStrategy: DedupStrategy,
): PatchResult {
  const { position } = handled;
  if (handled.outcome !== 'nothing') {
    const { revision } = handled;
    return handled.outcome === 'repeated' && isRedelivery
      ? { outcome: 'deduplicated', by: 'message-id', revision, position }
      : { outcome: 'patched', revision, position };
  }
  const { strategy } = handled.state.strategy ?? projectStrategy;
  if (handled.revision === 'no-stream') throw new Error('a first patch is never a duplicate');
  return { outcome: 'deduplicated', by: strategy, revision: handled.revision, position };
}
