import type { Queryable } from '../../../database/database.ts';
import { LOCKS } from '../../../database/locks.ts';
import { sql } from '../../../database/sql.ts';

/**
 * - `building`: a rebuild fills it; nobody reads it.
 * - `shadow`: a verification fills it, to compare it with the live one.
 * - `live`: a runner writes it and queries read it; at most one per projection and version.
 * - `retired`: it is not written any more. A reader that finds it retired reads again from the live
 *   generation. Its schema is dropped when no reader is left.
 */
export type GenerationStatus = 'building' | 'shadow' | 'live' | 'retired';

/** A running replay fills its generation; the other three are how it ended. */
export type ReplayStatus = 'running' | 'completed' | 'cancelled' | 'failed';

/**
 * - `projection`: the advisory lock of the projection, see `ProjectionLock`.
 * - `checkpoint`: the row of the generation's checkpoint, which its writer locks with every batch.
 *
 * Both last until the transaction ends, and are taken in this order.
 */
export type Lock = 'projection' | 'checkpoint';

interface Change<Status> {
  readonly from: readonly (Status | 'absent')[];
  readonly to: Status | 'absent';
}

interface Transition {
  readonly generation: Change<GenerationStatus>;
  /** How the status of the replay that fills the generation changes in the same transaction. */
  readonly replay?: Change<ReplayStatus>;
  readonly locks: readonly Lock[];
  readonly effect: string;
}

/**
 * Every change of the status of a generation or a replay. The functions that make a change take
 * from and to out of this table, so no other change can happen.
 */
export const TRANSITIONS = {
  createFirst: {
    generation: { from: ['absent'], to: 'live' },
    locks: ['projection'],
    effect: 'The projection has no live generation: tables and indexes are made, and are empty.',
  },
  requestRebuild: {
    generation: { from: ['absent'], to: 'building' },
    replay: { from: ['absent'], to: 'running' },
    locks: ['projection'],
    effect: 'Tables are made without indexes, and the replay is recorded.',
  },
  requestVerification: {
    generation: { from: ['absent'], to: 'shadow' },
    replay: { from: ['absent'], to: 'running' },
    locks: ['projection'],
    effect: 'Tables are made without indexes, and the replay is recorded.',
  },
  swapIn: {
    generation: { from: ['building'], to: 'live' },
    replay: { from: ['running'], to: 'completed' },
    locks: ['projection', 'checkpoint'],
    effect: 'It has caught up with the checkpoint of the generation that it replaces.',
  },
  retireReplaced: {
    generation: { from: ['live'], to: 'retired' },
    locks: ['projection', 'checkpoint'],
    effect: 'In the transaction of swapIn: the checkpoint is marked as retired.',
  },
  completeVerification: {
    generation: { from: ['shadow'], to: 'retired' },
    replay: { from: ['running'], to: 'completed' },
    locks: ['projection', 'checkpoint'],
    effect: 'The result of the comparison is recorded; the checkpoint is marked as retired.',
  },
  cancel: {
    generation: { from: ['building', 'shadow'], to: 'retired' },
    replay: { from: ['running'], to: 'cancelled' },
    locks: ['projection', 'checkpoint'],
    effect: 'An admin ends it; the checkpoint is marked as retired, which stops its writer.',
  },
  fail: {
    generation: { from: ['building', 'shadow'], to: 'retired' },
    replay: { from: ['running'], to: 'failed' },
    locks: ['projection', 'checkpoint'],
    effect: 'The error is recorded; the checkpoint is marked as retired.',
  },
  drop: {
    generation: { from: ['retired'], to: 'absent' },
    locks: ['projection'],
    effect: 'The schema is dropped, unless somebody still reads it: then later.',
  },
  dropUnusedVersion: {
    generation: { from: ['live'], to: 'absent' },
    locks: ['projection'],
    effect: 'No process has used this version for ten minutes, and another one is live.',
  },
} as const satisfies Record<string, Transition>;

export type TransitionName = keyof typeof TRANSITIONS;

type NamesWhere<Condition> = {
  [Name in TransitionName]: (typeof TRANSITIONS)[Name] extends Condition ? Name : never;
}[TransitionName];

/** The transitions that make a generation. */
export type Creation = NamesWhere<{ readonly generation: { readonly from: readonly ['absent'] } }>;
/** The transitions that drop a generation. */
export type Removal = NamesWhere<{ readonly generation: { readonly to: 'absent' } }>;
/** The transitions that change the status of a generation that stays. */
export type StatusChange = Exclude<TransitionName, Creation | Removal>;
/** The transitions that end a replay. */
export type ReplayEnding = NamesWhere<{
  readonly replay: { readonly from: readonly ['running'] };
}>;

/**
 * The right to change the generations and replays of one projection, until the transaction ends.
 * All transitions of a projection happen one after the other under it, over all processes.
 */
export class ProjectionLock {
  readonly tx: Queryable;
  readonly projection: string;

  private constructor(tx: Queryable, projection: string) {
    this.tx = tx;
    this.projection = projection;
  }

  static async take(tx: Queryable, projection: string): Promise<ProjectionLock> {
    await tx.query(sql`
      select pg_advisory_xact_lock(${LOCKS.generations}::integer, hashtext(${projection}))`);
    return new ProjectionLock(tx, projection);
  }
}
