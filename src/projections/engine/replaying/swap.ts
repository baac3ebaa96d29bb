import { setTimeout as delay } from 'node:timers/promises';
import type { Queryable } from '../../../database/database.ts';
import {
  BEGINNING,
  type Batch,
  type EventStore,
  type Position,
} from '../../../event-store/port.ts';
import {
  LeaseLostError,
  NotAppliedError,
  type GenerationWriter,
} from '../running/generation-writer.ts';
import {
  changeStatus,
  liveGenerations,
  lockGenerations,
  readCheckpoint,
  type Generation,
} from '../generations/generations.ts';
import type { Lease } from '../running/lease.ts';
import { isPaused } from '../running/paused-projections.ts';
import type { Projection } from '../projection.ts';
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
 * - `behind`: too far behind the live one to catch up while readers wait.
 * - `paused`: beyond the checkpoint of the live one, which is paused.
 * - `ended`: the rebuild is not running any more.
 */
export type SwapOutcome = 'swapped' | 'behind' | 'paused' | 'ended';

/**
 * For so long we wait for the tables, and all new readers behind us. Mostly not at all: somebody may
 * hold one for minutes (a dump). Among many readers with short queries it takes a wait, for those
 * before us to end. And an autovacuum gives way only to who has waited for a second.
 */
function lockTimeoutMs(attempt: number): number {
  if (attempt % 40 === 0) return 1_500;
  return attempt % 4 === 0 ? 200 : 1;
}

/** So much is caught up with while readers wait. */
const MAX_GAP_EVENTS = 1_000;
const MAX_GAP_BATCHES = 5;
const MAX_GAP_READING_MS = 1_000;
/** Of each of its batches. */
const MAX_GAP_APPLYING_MS = 2_000;

/**
 * Puts a generation in the live one's place, in one transaction. It holds all tables of the old one,
 * so no reader is in the midst of them and no runner writes them; it catches up to the old one's
 * checkpoint, so no position goes back; and it renames both schemas. Who waited for the tables then
 * looks their names up again (PostgreSQL plans a statement anew when a schema it names has changed),
 * and takes rows and checkpoint from the new ones.
 *
 * The checkpoint is locked first: each reader takes it with its rows, so new readers stop there, and
 * none is left in the midst, holding one table and waiting for another.
 * @param attempt from 1, of this swap.
 * @throws what passes, a lock not to be had in time among it: to be tried again.
 */
export async function swapIn(options: SwapOptions, attempt: number): Promise<SwapOutcome> {
  const { writer } = options;
  try {
    return await writer.connection.transaction((tx) => swapInTransaction(tx, options, attempt));
  } catch (error) {
    // Whether it can be applied at all shows outside, where nobody waits.
    if (error instanceof NotAppliedError) return 'behind';
    throw error;
  }
}

async function swapInTransaction(
  tx: Queryable,
  options: SwapOptions,
  attempt: number,
): Promise<SwapOutcome> {
  const { store, projection, replay, generation, lease, writer } = options;
  await tx.query({ text: 'set local synchronous_commit to on' });
  await lockGenerations(tx, projection.name);
  const live = await liveGenerations(tx, projection.name);
  const replaced = live.find(({ version }) => version === projection.version);
  if (replaced !== undefined) await lockTables(tx, replaced, lockTimeoutMs(attempt));
  const answering = replaced ?? live[0];
  const isOfThisLog = answering?.logId === store.logId;
  const reached = isOfThisLog ? (await readCheckpoint(tx, answering.schema)).position : BEGINNING;
  // A pause waits for the lock that is held here: it comes before, or after the swap.
  if (isOfThisLog && writer.position > reached && (await isPaused(tx, projection.name))) {
    return 'paused';
  }
  // The log may be elsewhere, and slow, while readers wait.
  const reading = gapUntil(reached, options);
  const gap = await Promise.race([reading, delay(MAX_GAP_READING_MS)]);
  reading.catch(() => undefined);
  if (gap === undefined) return 'behind';
  const position = await catchUp(tx, options, gap);
  const { events } = lease.rate;
  const end = { status: 'completed', position, target: position, events } as const;
  if (!(await markEnded(tx, replay, end))) return 'ended';
  if (replaced !== undefined) await changeStatus(tx, replaced, 'retired');
  await changeStatus(tx, generation, 'live');
  return 'swapped';
}

async function lockTables(tx: Queryable, { schema }: Generation, timeoutMs: number): Promise<void> {
  const tables = await tx.query<{ name: string }>({
    text: `
      select relname as name
      from pg_class
      where relnamespace = $1::regnamespace /* schema */
        and relkind = 'r'
      order by relname <> 'checkpoint', relname`,
    values: [schema],
  });
  const [before] = await tx.query<{ timeout: string }>({
    text: `select current_setting('lock_timeout') as timeout`,
  });
  await tx.query({ text: `set local lock_timeout to ${timeoutMs}` });
  const names = tables.map(({ name }) => `${schema}.${name}`);
  await tx.query({ text: `lock table ${names.join(', ')} in access exclusive mode` });
  // Not `to default`: that is the limit of the role, and not the writer's own.
  await tx.query({
    text: `select set_config('lock_timeout', $1, true)`,
    values: [before?.timeout],
  });
}

/** What is missing; undefined when it is too much. Positions do not tell: they are no count of events. */
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
  { lease, writer }: SwapOptions,
  gap: readonly Batch[],
): Promise<Position> {
  const held = await tx.query({
    text: 'select token from checkpoint where token = $1 /* lease */ for update',
    values: [lease.token],
  });
  if (held.length === 0) throw new LeaseLostError();
  await tx.query({ text: `set local statement_timeout to ${MAX_GAP_APPLYING_MS}` });
  let { position } = writer;
  for (const batch of gap) {
    await writer.writeIn(tx, position, batch, MAX_GAP_APPLYING_MS);
    position = batch.position;
  }
  return position;
}
