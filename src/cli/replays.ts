import { randomUUID } from 'node:crypto';
import type { CommandContext } from '../commands/core/context.ts';
import type { Ledger } from '../service/ledger.ts';
import { paceOf } from '../projections/engine/administration-json.ts';
import type { Replay, ReplayKind } from '../projections/engine/replaying/replays.ts';
import { LedgerError } from '../shared/errors.ts';
import { Interrupted } from './ending.ts';
import { showProgress } from './progress.ts';
import { sleep } from '../shared/sleep.ts';

const LOOK_INTERVAL_MS = 250;

export interface ReplayOrder {
  readonly kind: ReplayKind;
  readonly projection: string;
  readonly context: CommandContext;
  readonly signal: AbortSignal;
}

/**
 * Requests a replay and follows it to its end, whichever process carries it out.
 * @throws Interrupted when asked to end; the replay stays where it stands.
 */
export async function replayToTheEnd(ledger: Ledger, order: ReplayOrder): Promise<Replay> {
  const { kind, projection, signal } = order;
  if (signal.aborted) throw new Interrupted();
  const { replayId } = await requestReplay(ledger, order);
  const progress = showProgress(`${kind} of ${projection}`);
  try {
    for (;;) {
      const replay = await ledger.administration.replay(kind, replayId);
      if (replay.progress.status !== 'running') return replay;
      if (signal.aborted) break;
      progress.show(paceOf(replay, await targetOf(ledger, replay)));
      await sleep(LOOK_INTERVAL_MS, signal);
    }
  } finally {
    progress.end();
  }
  process.stderr.write(`${whatIsLeft(kind, replayId)}\n`);
  throw new Interrupted();
}

/**
 * One of the same kind that is running will do: it may have been left with nobody to carry it on.
 */
async function requestReplay(
  { administration, projectionCommands }: Ledger,
  { kind, projection, context }: ReplayOrder,
): Promise<Replay> {
  try {
    return await projectionCommands.requestReplay(kind, projection, randomUUID(), context);
  } catch (error) {
    const running = error instanceof LedgerError ? error.conflicting : undefined;
    if (running?.kind !== kind) throw error;
    process.stderr.write(`The ${kind} ${running.id} is already running: following it.\n`);
    return administration.replay(kind, running.id);
  }
}

/** A rebuild is to reach the head; a verification, where the live generation stands. */
async function targetOf({ administration }: Ledger, { kind, projection }: Replay): Promise<bigint> {
  if (kind === 'rebuild') return administration.head();
  return (await administration.status(projection)).position;
}

function whatIsLeft(kind: ReplayKind, id: string): string {
  const left =
    `Interrupted: the ${kind} ${id} stays where it stands. A running service carries it on, or ` +
    'the next start, or this command again.';
  // Only a rebuild changes anything, and can be cancelled.
  if (kind !== 'rebuild') return left;
  return `${left}\nTo cancel it, with an admin key: DELETE /api/v1/admin/rebuilds/${id}`;
}
