import { setTimeout as delay } from 'node:timers/promises';
import { isDisconnected, isPassing, type Database } from '../../database/database.ts';
import type { Batch, EventStore, Position } from '../../event-store/port.ts';
import { compareGenerations } from './comparison.ts';
import { GenerationWriter } from './generation-writer.ts';
import {
  makeIndexes,
  ownLiveGeneration,
  readCheckpoint,
  type Generation,
  type Stop,
} from './generations.ts';
import type { Lease } from './lease.ts';
import type { Projection } from './projection.ts';
import { endReplay, type Replay } from './replays.ts';
import { readSkips } from './skips.ts';
import { swapIn } from './swap.ts';

export interface ReplayingOptions {
  readonly database: Database;
  readonly store: EventStore;
  readonly projection: Projection;
  readonly replay: Replay;
  readonly generation: Generation;
  readonly lease: Lease;
  /** Aborted when the process stops: the replay goes on where it stands, in whichever process. */
  readonly signal: AbortSignal;
}

/** Where so little has come meanwhile, a replay is done with the bulk. */
const FEW_EVENTS = 500;
const FEW_BATCHES = 3;
const MAX_PAUSE_BEFORE_SWAP_MS = 2_000;

/**
 * Carries out a replay under its lease, from wherever an earlier holder has left it: the bulk, then
 * the indexes, then what was written meanwhile, then the end that its kind has. Gives the reason why
 * it cannot come to that.
 * @throws LeaseLostError, and what passes
 */
export async function carryOut(options: ReplayingOptions): Promise<string | undefined> {
  const { database, store, projection, replay, generation, lease, signal } = options;
  const writer = await GenerationWriter.open({
    database,
    store,
    projection,
    generation,
    lease,
    isBulk: true,
  });
  try {
    const target = targetOf(options);
    let stopped = await fill(options, writer, target);
    if (stopped === undefined && !signal.aborted) {
      await makeIndexes(database, generation, projection);
      stopped = await fill(options, writer, target);
    }
    const skips = await readSkips(store, projection.name);
    // Skipped since this began: it is taken up again, and leaves it out.
    if (stopped !== undefined && skips.has(stopped.eventId)) return undefined;
    if (stopped !== undefined) {
      return `event ${stopped.eventId} at position ${stopped.position}: ${stopped.message}`;
    }
    if (signal.aborted) return undefined;
    if (skips.size > writer.skipped.size) {
      return 'an event was skipped meanwhile, which it may have applied: ask for another one';
    }
    await (replay.kind === 'rebuild' ? finishRebuild : finishVerification)(options, writer);
    return undefined;
  } finally {
    await writer.close();
  }
}

/** Where it is to come to, asked again and again: the log's head, or the checkpoint it is compared at. */
function targetOf({
  database,
  store,
  projection,
  replay,
}: ReplayingOptions): () => Promise<Position> {
  if (replay.kind === 'rebuild') return () => store.head();
  return async () => {
    const live = await ownLiveGeneration(database, projection, store.logId);
    if (live === undefined) throw new Error('there is no live generation to compare with');
    return (await readCheckpoint(database, live.schema)).position;
  };
}

async function fill(
  { store, projection, signal }: ReplayingOptions,
  writer: GenerationWriter,
  target: () => Promise<Position>,
): Promise<Stop | undefined> {
  for (;;) {
    const until = await target();
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
    // Under load the target has moved on, about as far: what is left, the end catches up with.
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
      // It is awaited above; until then its failure is nobody's.
      next.catch(() => undefined);
      yield value;
    }
  } finally {
    await next.catch(() => undefined);
    await iterator.return?.();
  }
}

async function finishRebuild(options: ReplayingOptions, writer: GenerationWriter): Promise<void> {
  const { signal } = options;
  for (let attempt = 1; !signal.aborted; attempt += 1) {
    try {
      const outcome = await swapIn({ ...options, writer }, attempt);
      if (outcome !== 'behind') return;
      await fill(options, writer, targetOf(options));
    } catch (error) {
      // Readers held on to a table. (What else passes has most likely cost us the connection.)
      if (!isPassing(error) || isDisconnected(error)) throw error;
      await delay(Math.random() * Math.min(attempt * 50, MAX_PAUSE_BEFORE_SWAP_MS));
    }
  }
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
  await endReplay(
    database,
    replay,
    { status: 'completed', position, target: position, ...found },
    lease.token,
  );
}
