import { projectionStream } from '../../event-store/stream-name.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { CommandContext } from '../core/context.ts';
import type { CommandHandler } from '../core/handler.ts';
import { projectionDecider } from './decider.ts';

type ProjectionEvent = Parameters<typeof projectionDecider.decide>[1];

/** What an admin does with a projection, or with the event that it stopped at. */
export type ProjectionAction = 'pause' | 'resume' | 'retry' | 'skip';

type ReplayKind = 'rebuild' | 'verification';

interface Stop {
  readonly eventId: string;
  readonly position: string;
  readonly message: string;
}

interface Replay {
  readonly projection: string;
  readonly progress: { readonly status: string };
}

/** What runs the projections, as far as commands have it do something. */
export interface ProjectionControl<Replayed extends Replay> {
  /** @throws LedgerError `not-found` */
  status(projection: string): Promise<unknown>;
  pause(projection: string, actor: string): Promise<void>;
  resume(projection: string): Promise<void>;
  /** @throws LedgerError `projection-not-stopped` */
  stopOf(projection: string): Promise<Stop>;
  clearStop(projection: string, stop: Stop): Promise<void>;
  /** @throws LedgerError `not-found`, `projection-busy` */
  requestReplay(
    projection: string,
    request: { readonly replayId: string; readonly kind: ReplayKind; readonly actor: string },
  ): Promise<Replayed>;
  /** @throws LedgerError `not-found` */
  replay(kind: ReplayKind, replayId: string): Promise<Replayed>;
  /** False when it had ended before. */
  cancel(replay: Replayed): Promise<boolean>;
}

/**
 * What admins do with projections, over HTTP or on the command line: done, and recorded with who
 * did it. What changes a read model for ever (a skip) is recorded first; what may be refused is
 * recorded once it is done.
 */
export class ProjectionCommands<Replayed extends Replay> {
  readonly #handler: CommandHandler;
  readonly #control: ProjectionControl<Replayed>;

  constructor(handler: CommandHandler, control: ProjectionControl<Replayed>) {
    this.#handler = handler;
    this.#control = control;
  }

  /**
   * `eventId`: the event that it is stopped at, for a retry or a skip; another one is refused.
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
        await this.#control.status(projection);
        await this.#record({ type: 'ProjectionPaused', data: { projection } }, context);
        return this.#control.pause(projection, context.actor);
      case 'resume':
        await this.#control.status(projection);
        await this.#record({ type: 'ProjectionResumed', data: { projection } }, context);
        return this.#control.resume(projection);
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
  ): Promise<Replayed> {
    const { actor } = context;
    const replay = await this.#control.requestReplay(projection, { replayId, kind, actor });
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
  async cancelReplay(kind: ReplayKind, id: string, context: CommandContext): Promise<Replayed> {
    const isCancelled = await this.#control.cancel(await this.#control.replay(kind, id));
    const replay = await this.#control.replay(kind, id);
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
    const stop = await this.#control.stopOf(projection);
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
    await this.#control.clearStop(projection, stop);
  }

  async #record(event: ProjectionEvent, context: CommandContext): Promise<void> {
    const stream = projectionStream(event.data.projection);
    await this.#handler.execute(projectionDecider, stream, event, context);
  }
}
