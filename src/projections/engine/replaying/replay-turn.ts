import { isDisconnected, type Database } from '../../../database/database.ts';
import type { Batch, EventStore, Position } from '../../../event-store/port.ts';
import { compareGenerations } from './comparison.ts';
import { GenerationWriter, type BatchLimit } from '../running/generation-writer.ts';
import { liveGenerations, ownLiveGeneration, type Generation } from '../generations/generations.ts';
import type { Lease } from '../running/lease.ts';
import { isPaused } from '../running/paused-projections.ts';
import { makeIndexes } from '../generations/generation-tables.ts';
import { readCheckpoint } from '../generations/checkpoint.ts';
import type { Stop } from '../running/stops.ts';
import type { Projection } from '../projection.ts';
import { endReplay, type Replay } from './replays.ts';
import { readSkips } from '../running/skips.ts';
import { swapIn } from './swap.ts';
import { sleep } from '../../../shared/sleep.ts';
import { isTransient } from '../../../shared/errors.ts';

export interface ReplayingOptions {
  readonly database: Database;
  readonly store: EventStore;
  readonly projection: Projection;
  readonly replay: Replay;
  readonly generation: Generation;
  readonly lease: Lease;
  readonly applyTimeoutMs?: number | undefined;
  /** Aborted when the turn is over: any process can resume the replay from its checkpoint. */
  readonly signal: AbortSignal;
  /** Aborted when the process stops. */
  readonly stopping: AbortSignal;
  /** Kept from turn to turn, so that the next turn knows what size of a batch can be applied. */
  readonly batchLimit: BatchLimit;
}

/**
 * - `ended`: completed, or ended by an admin or another process meanwhile.
 * - `unfinished`: to be resumed in another turn.
 * - `paused`: it is beyond the checkpoint of a paused projection, and can only end when that is
 *   resumed.
 * - a reason why it cannot be completed.
 */
export type TurnOutcome = 'ended' | 'unfinished' | 'paused' | { readonly reason: string };

/** When no more than this was written meanwhile, the bulk is done. */
const FEW_EVENTS = 500;
const FEW_BATCHES = 3;
const MAX_PAUSE_BEFORE_SWAP_MS = 2_000;

/**
 * Carries out a replay under its lease, from where the turn before has left it: the bulk, then the
 * indexes, then what was written meanwhile, then the swap or the comparison.
 * @throws LeaseLostError, the reason of an aborted `signal`, and what is transient
 */
export async function carryOut(options: ReplayingOptions): Promise<TurnOutcome> {
  const { store, projection, replay, signal } = options;
  const writer = await GenerationWriter.open({
    ...options,
    isBulk: true,
    signal: options.stopping,
    turn: signal,
  });
  try {
    let stopped = await fill(options, writer);
    if (stopped === undefined && !signal.aborted) {
      await makeIndexes(options.database, options.generation, projection);
      stopped = await fill(options, writer);
    }
    const skips = await readSkips(store, projection.name);
    // It was skipped since this turn began: the next turn leaves it out.
    if (stopped !== undefined && skips.has(stopped.eventId)) return 'unfinished';
    if (stopped !== undefined) return failedAt(stopped);
    if (signal.aborted) return 'unfinished';
    if (skips.size > writer.skipped.size) {
      return {
        reason: 'an event that it may have applied was skipped meanwhile: start it again',
      };
    }
    if (replay.kind === 'rebuild') return await finishRebuild(options, writer);
    await finishVerification(options, writer);
    return 'ended';
  } finally {
    await writer.close();
  }
}

function failedAt({ eventId, position, message }: Stop): TurnOutcome {
  return { reason: `event ${eventId} at position ${position}: ${message}` };
}

/**
 * The position up to which it fills: the head of the log, or the checkpoint at which a verification
 * compares. A rebuild does not move a paused projection, either.
 */
async function targetOf(options: ReplayingOptions): Promise<Position> {
  const { database, store, projection, replay } = options;
  if (replay.kind === 'rebuild') {
    if (!(await isPaused(database, projection.name))) return store.head();
    const live = await liveGenerations(database, projection.name);
    const ofThisLog = live.filter(({ logId }) => logId === store.logId);
    const answering =
      ofThisLog.find(({ version }) => version === projection.version) ?? ofThisLog[0];
    if (answering === undefined) return store.head();
    return (await readCheckpoint(database, answering.schema)).position;
  }
  const live = await ownLiveGeneration(database, projection, store.logId);
  if (live === undefined) throw new Error('there is no live generation to compare with');
  return (await readCheckpoint(database, live.schema)).position;
}

async function fill(
  options: ReplayingOptions,
  writer: GenerationWriter,
): Promise<Stop | undefined> {
  const { store, projection, signal } = options;
  for (;;) {
    const until = await targetOf(options);
    const types = projection.handles;
    let events = 0;
    let batches = 0;
    for await (const batch of readAhead(store.readAll({ after: writer.position, until, types }))) {
      if (signal.aborted) return undefined;
      const stopped = await writer.write(batch);
      if (stopped !== undefined) return stopped;
      events += batch.events.length;
      batches += 1;
    }
    // Under load there is always more to come: the swap or the comparison applies the rest.
    if (events <= FEW_EVENTS && batches <= FEW_BATCHES) return undefined;
  }
}

/** Reads the next batch while its consumer is busy with the one before. */
async function* readAhead(batches: AsyncIterable<Batch>): AsyncIterable<Batch> {
  const iterator = batches[Symbol.asyncIterator]();
  let next = iterator.next();
  try {
    for (;;) {
      const { done, value } = await next;
      if (done === true) return;
      next = iterator.next();
      // It is awaited above; a failure before that must not count as unhandled.
      next.catch(() => undefined);
      yield value;
    }
  } finally {
    await next.catch(() => undefined);
    await iterator.return?.();
  }
}

async function finishRebuild(
  options: ReplayingOptions,
  writer: GenerationWriter,
): Promise<TurnOutcome> {
  const { signal } = options;
  for (let attempt = 1; !signal.aborted; attempt += 1) {
    try {
      const outcome = await swapIn({ ...options, writer });
      if (outcome === 'paused') return 'paused';
      if (outcome !== 'behind') return 'ended';
      const stopped = await fill(options, writer);
      if (stopped !== undefined) return failedAt(stopped);
    } catch (error) {
      // The runner holds the checkpoint for longer than the swap waits for it.
      if (!isTransient(error) || isDisconnected(error)) throw error;
      await sleep(Math.random() * Math.min(attempt * 50, MAX_PAUSE_BEFORE_SWAP_MS));
    }
  }
  return 'unfinished';
}

async function finishVerification(
  options: ReplayingOptions,
  writer: GenerationWriter,
): Promise<void> {
  const { database, store, projection, replay, generation, lease } = options;
  const live = await ownLiveGeneration(database, projection, store.logId);
  if (live === undefined) throw new Error('there is no live generation to compare with');
  const { position, ...found } = await compareGenerations(
    database,
    live,
    generation,
    async (until) => {
      const batches = store.readAll({ after: writer.position, until, types: projection.handles });
      for await (const batch of batches) {
        const stopped = await writer.write(batch);
        if (stopped !== undefined) throw new Error(stopped.message);
      }
    },
  );
  const result = { target: position, ...found };
  await endReplay(database, replay, 'completeVerification', result, lease.token);
}
