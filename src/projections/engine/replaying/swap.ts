import { setTimeout as delay } from 'node:timers/promises';
import type { Queryable } from '../../../database/database.ts';
import {
  BEGINNING,
  type Batch,
  type EventStore,
  type Position,
} from '../../../event-store/port.ts';
import { lockCheckpoint, lockCheckpointOf, readCheckpoint } from '../generations/checkpoint.ts';
import { changeStatus, liveGenerations, type Generation } from '../generations/generations.ts';
import { ProjectionLock } from '../generations/state-machine.ts';
import type { Projection } from '../projection.ts';
import {
  LeaseLostError,
  NotAppliedError,
  type GenerationWriter,
} from '../running/generation-writer.ts';
import type { Lease } from '../running/lease.ts';
import { isPaused } from '../running/paused-projections.ts';
import { setForTransaction } from '../session-settings.ts';
import { markEnded, type Replay } from './replays.ts';

export interface SwapOptions {
  readonly store: EventStore;
  readonly projection: Projection;
  readonly replay: Replay;
  readonly generation: Generation;
  readonly lease: Lease;
  readonly writer: GenerationWriter;
}

/**
 * - `swapped`: the new generation is the live one.
 * - `behind`: too far behind the live one to catch up while that waits.
 * - `paused`: beyond the checkpoint of the live one, whose projection is paused.
 * - `ended`: the rebuild does not run any more.
 */
export type SwapOutcome = 'swapped' | 'behind' | 'paused' | 'ended';

/**
 * A runner locks its checkpoint for as long as it applies a batch. A swap that has waited for this
 * time is tried again, so that it can be cancelled.
 */
const LOCK_TIMEOUT_MS = 3_000;
/** The most that is applied while the live generation waits. */
const MAX_GAP_EVENTS = 1_000;
const MAX_GAP_BATCHES = 5;
const MAX_GAP_READING_MS = 1_000;
/** The time limit of each of these batches. */
const MAX_GAP_APPLYING_MS = 2_000;

/**
 * Makes a generation the live one, in one transaction. It locks the checkpoint of the generation
 * that answers, so that no runner moves it; catches up to that checkpoint, so that no position goes
 * back; marks it as retired; and makes the new one live.
 *
 * Readers are not held up, and hold nothing up: until the commit they see the old generation as it
 * was, and after it they find the mark beside the rows, and read again (see `ActiveGenerations`).
 * @throws what is transient: to be tried again.
 */
export async function swapIn(options: SwapOptions): Promise<SwapOutcome> {
  try {
    return await options.writer.connection.transaction((tx) => swapInTransaction(tx, options));
  } catch (error) {
    // Whether the events can be applied at all is found out where nobody waits for it.
    if (error instanceof NotAppliedError) return 'behind';
    throw error;
  }
}

async function swapInTransaction(tx: Queryable, options: SwapOptions): Promise<SwapOutcome> {
  const { store, projection, replay, generation, lease, writer } = options;
  await setForTransaction(tx, { synchronous_commit: 'on', lock_timeout: LOCK_TIMEOUT_MS });
  const lock = await ProjectionLock.take(tx, projection.name);
  const live = await liveGenerations(tx, projection.name);
  const replaced = live.find(({ version }) => version === projection.version);
  const answering = replaced ?? live[0];
  const locked = answering && (await lockCheckpoint(tx, answering.schema));
  const isOfThisLog = answering?.logId === store.logId;
  const reached = isOfThisLog && locked ? locked.position : BEGINNING;
  // A pause waits for the lock of the projection, so it comes before this swap or after it.
  if (isOfThisLog && writer.position > reached && (await isPaused(tx, projection.name))) {
    return 'paused';
  }
  // The log may be in another store, and slow, while the live generation waits.
  const reading = gapUntil(reached, options);
  const gap = await Promise.race([reading, delay(MAX_GAP_READING_MS)]);
  reading.catch(() => undefined);
  if (gap === undefined) return 'behind';
  if (!(await lockCheckpointOf(tx, generation.schema, lease.token))) throw new LeaseLostError();
  await catchUp(tx, writer, gap);
  const end = await readCheckpoint(tx, generation.schema);
  if (!(await markEnded(lock, replay, 'swapIn', end, { target: end.position }))) return 'ended';
  if (replaced !== undefined) await changeStatus(lock, replaced, 'retireReplaced');
  await changeStatus(lock, generation, 'swapIn');
  return 'swapped';
}

/** What is missing; undefined when it is too much. Positions do not count events in every log. */
async function gapUntil(
  until: Position,
  { store, projection, writer }: SwapOptions,
): Promise<Batch[] | undefined> {
  const gap: Batch[] = [];
  let events = 0;
  const after = writer.position;
  for await (const batch of store.readAll({ after, until, types: projection.handles })) {
    gap.push(batch);
    events += batch.events.length;
    if (events > MAX_GAP_EVENTS || gap.length > MAX_GAP_BATCHES) return undefined;
  }
  return gap;
}

async function catchUp(
  tx: Queryable,
  writer: GenerationWriter,
  gap: readonly Batch[],
): Promise<void> {
  await setForTransaction(tx, { statement_timeout: MAX_GAP_APPLYING_MS });
  let { position } = writer;
  for (const batch of gap) {
    await writer.writeIn(tx, position, batch, MAX_GAP_APPLYING_MS);
    position = batch.position;
  }
}
