import { dedupStrategySchema, type DedupStrategy } from '../../events/state.ts';
import type { EventStore, Position } from '../../event-store/port.ts';
import { streamName, type StreamName } from '../../event-store/stream-name.ts';
import type { CommandParts } from '../core/command-parts.ts';
import type { CommandContext } from '../core/context.ts';
import type { CommandHandler, Handled } from '../core/handler.ts';
import { claimMessage, type MessageClaim } from './message-claims.ts';
import {
  projectDedupDecider,
  sensorDecider,
  type ProjectDedup,
  type SensorState,
} from './decider.ts';
import type { IncomingPatch } from './dedup.ts';
import { KeyedQueue } from '../../shared/keyed-queue.ts';

export { dedupStrategySchema };

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

export class StateCommands {
  readonly #handler: CommandHandler;
  readonly #store: EventStore;
  /** The turn of a patch ends when the patch is in the queue of its sensor, or has failed. */
  readonly #queue = new KeyedQueue();

  constructor({ handler, store }: Pick<CommandParts, 'handler' | 'store'>) {
    this.#handler = handler;
    this.#store = store;
  }

  /**
   * Patches of one sensor are applied in the order in which they are given, also when they are
   * given at once.
   * @throws LedgerError `state-too-large`, and what the precondition in `context` throws.
   */
  async patch(
    sensorId: string,
    incoming: IncomingPatch,
    context: CommandContext,
  ): Promise<PatchResult> {
    const stream = sensorStream(context.projectId, sensorId);
    const prepared = this.#prepare(stream, sensorId, incoming, context).catch((error: unknown) => {
      context.group?.fail(error, stream);
      throw error;
    });
    const turn = this.#queue.run([stream], async () => {
      const { project, claim } = await prepared;
      const { strategy, memory: projectMemory } = project;
      const command = {
        type: 'patch',
        sensorId,
        incoming,
        projectStrategy: strategy,
        projectMemory,
      } as const;
      // In an object: the turn ends with the patch in the queue, and does not wait for the outcome.
      return {
        handled: this.#handler.execute(sensorDecider, stream, command, {
          ...context,
          ...(claim !== undefined && { identity: claim.identity }),
          ...(context.precondition && { precondition: ofSensor(context.precondition) }),
        }),
        isClaimed: claim?.isOwn === false,
        projectStrategy: strategy,
      };
    });
    // A patch that cannot be prepared is answered at once. Its turn comes all the same, after the
    // patches before it, so that those behind it do not overtake them.
    const [{ handled, isClaimed, projectStrategy }] = await Promise.all([turn, prepared]);
    return patchResult(await handled, isClaimed, projectStrategy);
  }

  /** What a patch is decided with; how long that takes to find out differs from patch to patch. */
  async #prepare(
    stream: StreamName,
    sensorId: string,
    { messageId }: IncomingPatch,
    context: CommandContext,
  ): Promise<{ project: ProjectDedup; claim: MessageClaim | undefined }> {
    const { state: project } = await this.#handler.peek(
      projectDedupDecider,
      projectDedupStream(context.projectId),
      STRATEGY_MAX_AGE_MS,
    );
    if (messageId === undefined) return { project, claim: undefined };
    const sensor = await this.#handler.peek(sensorDecider, stream, STRATEGY_MAX_AGE_MS);
    const { strategy, ownMemory } = sensor.state;
    const claim =
      (strategy ?? project.strategy).strategy === 'message-id'
        ? await claimMessage(
            this.#store,
            { sensorId, messageId, memory: memoryName(strategy && ownMemory, project.memory) },
            sensor.revision,
            context,
          )
        : undefined;
    return { project, claim };
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

/**
 * Names what ids are remembered in: another setting of the strategy, its own or the project's, is
 * another.
 */
function memoryName(ownMemory: number | undefined, projectMemory: number): string | undefined {
  if (ownMemory !== undefined) return ownMemory === 0 ? undefined : `sensor-${ownMemory}`;
  return projectMemory === 0 ? undefined : `project-${projectMemory}`;
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
