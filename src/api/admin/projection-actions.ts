import type { CommandContext } from '../../commands/core/context.ts';
import type { CommandHandler } from '../../commands/core/handler.ts';
import { projectionDecider, projectionStream } from '../../commands/projections/decider.ts';
import type { ProjectionAdministration } from '../../projections/engine/administration.ts';
import type { Replay, ReplayKind } from '../../projections/engine/replaying/replays.ts';
import { LedgerError } from '../../shared/errors.ts';

type ProjectionEvent = Parameters<typeof projectionDecider.decide>[1];

/** What an admin does with a projection, or with the event that it stopped at. */
export type ProjectionAction = 'pause' | 'resume' | 'retry' | 'skip';

/**
 * What admins do with projections, over HTTP or on the command line: done, and recorded with who
 * did it. What changes a read model for ever (a skip) is recorded first; what may be refused is,
 * after.
 */
export class ProjectionActions {
  readonly #handler: CommandHandler;
  readonly #administration: ProjectionAdministration;

  constructor(handler: CommandHandler, administration: ProjectionAdministration) {
    this.#handler = handler;
    this.#administration = administration;
  }

  /**
   * `eventId`: of the event that it stands at, for a retry or a skip; another one is refused.
   * @throws LedgerError `not-found`, `projection-not-stopped`
   */
  async act(
    action: ProjectionAction,
    projection: string,
    context: CommandContext,
    eventId?: string,
  ): Promise<void> {
    switch (action) {
      case 'pause':
        await this.#administration.status(projection);
        await this.#record({ type: 'ProjectionPaused', data: { projection } }, context);
        return this.#administration.pause(projection, context.actor);
      case 'resume':
        await this.#administration.status(projection);
        await this.#record({ type: 'ProjectionResumed', data: { projection } }, context);
        return this.#administration.resume(projection);
      case 'retry':
      case 'skip':
        return this.#decideOnStop(action, projection, context, eventId);
    }
  }

  /** @throws LedgerError `not-found`, `projection-busy` */
  async requestReplay(
    kind: ReplayKind,
    projection: string,
    replayId: string,
    context: CommandContext,
  ): Promise<Replay> {
    const { actor } = context;
    const replay = await this.#administration.requestReplay(projection, { replayId, kind, actor });
    await this.#record(
      kind === 'rebuild'
        ? { type: 'ProjectionRebuildRequested', data: { projection, rebuildId: replayId } }
        : {
            type: 'ProjectionVerificationRequested',
            data: { projection, verificationId: replayId },
          },
      context,
    );
    return replay;
  }

  /**
   * A replay that was cancelled before is no error.
   * @throws LedgerError `not-found`, `replay-ended`
   */
  async cancelReplay(kind: ReplayKind, id: string, context: CommandContext): Promise<Replay> {
    const isCancelled = await this.#administration.cancel(
      await this.#administration.replay(kind, id),
    );
    const replay = await this.#administration.replay(kind, id);
    const { projection } = replay;
    const { status } = replay.progress;
    if (status !== 'cancelled') {
      throw new LedgerError(
        'replay-ended',
        `The ${kind} cannot be cancelled, because it is ${status}.`,
      );
    }
    if (isCancelled && kind === 'rebuild') {
      const data = { projection, rebuildId: id };
      await this.#record({ type: 'ProjectionRebuildCancelled', data }, context);
    }
    return replay;
  }

  async #decideOnStop(
    action: 'retry' | 'skip',
    projection: string,
    context: CommandContext,
    wanted: string | undefined,
  ): Promise<void> {
    const stop = await this.#administration.stopOf(projection);
    const { eventId, position, message: error } = stop;
    if (wanted !== undefined && wanted !== eventId) {
      throw new LedgerError(
        'projection-not-stopped',
        `The projection '${projection}' is stopped at event ${eventId}: send that event_id, ` +
          'or none.',
      );
    }
    await this.#record(
      action === 'retry'
        ? { type: 'ProjectionRetried', data: { projection, eventId } }
        : { type: 'ProjectionEventSkipped', data: { projection, eventId, position, error } },
      context,
    );
    await this.#administration.goOn(projection, stop);
  }

  async #record(event: ProjectionEvent, context: CommandContext): Promise<void> {
    const stream = projectionStream(event.data.projection);
    await this.#handler.execute(projectionDecider, stream, event, context);
  }
}
