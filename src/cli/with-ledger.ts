import { randomUUID } from 'node:crypto';
import type { CommandContext } from '../commands/core/context.ts';
import { INSTALLATION_PROJECT } from '../event-store/stream-name.ts';
import { loadConfig } from '../config.ts';
import { openLedger, type Ledger } from '../service/ledger.ts';
import { ExitCode, Interrupted, onAskedToEnd } from './ending.ts';

const ACTOR = 'system:cli';

export function context(projectId = INSTALLATION_PROJECT): CommandContext {
  return { projectId, actor: ACTOR, correlationId: randomUUID() };
}

/**
 * Opens the ledger for a command, beside a service or without one. `signal` is aborted when the
 * command is asked to end: one that takes its time then throws `Interrupted`.
 */
export async function withLedger(
  work: (ledger: Ledger, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const interruption = new AbortController();
  const { signal } = interruption;
  // Listened for before the opening, so that a signal in the midst of it leaves no server behind.
  onAskedToEnd(() => interruption.abort(), ExitCode.interrupted);
  const logLevel = process.env['LOG_LEVEL'] ?? 'warn';
  const ledger = await openLedger({ ...loadConfig(), logLevel }, 'tool');
  try {
    if (signal.aborted) throw new Interrupted();
    await work(ledger, signal);
  } finally {
    // An engine that was never started polls for tables that are being built, and is stopped, too.
    await ledger.engine.stop();
    await ledger.close();
  }
}
