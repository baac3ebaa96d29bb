import { randomBytes, randomUUID } from 'node:crypto';
import { onTestFinished, vi } from 'vitest';
import { DevEuiCommands } from '../../src/commands/deveui/commands.ts';
import { batchDecider, batchStream, type BatchCommand } from '../../src/commands/deveui/decider.ts';
import type { CommandHandler } from '../../src/commands/core/handler.ts';
import { lead } from '../../src/database/leadership.ts';
import type { BatchEvent } from '../../src/events/deveui.ts';
import { domainEvent } from '../../src/events/registry.ts';
import type { EventStore } from '../../src/event-store/port.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import { openHttpProvider, providerOrigin } from '../../src/lorawan/http-provider.ts';
import {
  startSimulator,
  type Simulator,
  type SimulatorOptions,
} from '../../src/lorawan/simulator/simulator.ts';
import { Provisioning, type ProvisioningParts } from '../../src/reactors/provisioning.ts';
import { systemClock } from '../../src/shared/clock.ts';
import { createLogger } from '../../src/shared/logger.ts';
import type { WriteProcess } from '../commands/core/write-process.ts';

export const EVENTUALLY = { timeout: 60_000, interval: 20 };
const logger = createLogger('silent');

/** A provider that the test has for itself. */
export async function simulate(options: SimulatorOptions = {}): Promise<Simulator> {
  const simulator = await startSimulator({ latencyMs: 5, ...options });
  onTestFinished(() => simulator.close());
  return simulator;
}

/** The reactor of one process, running until its test ends. */
export function startProvisioning(
  { store, snapshots, handler, database }: WriteProcess,
  { url }: Pick<Simulator, 'url'>,
  changes: Partial<ProvisioningParts> & { readonly timeoutMs?: number } = {},
): Provisioning {
  // Not shorter, where nothing hangs: a machine that stalls for as long makes a DevEUI one that may
  // be registered.
  const { timeoutMs = 10_000, ...parts } = changes;
  const provider = openHttpProvider({ url, timeoutMs });
  const provisioning = new Provisioning({
    store,
    snapshots,
    commands: new DevEuiCommands({ store, handler }),
    provider,
    backoff: { minMs: 10, maxMs: 100 },
    maxFailures: 8,
    maxConflicts: 50,
    lead: (signal) => lead(database, providerOrigin(url), signal, logger),
    clock: systemClock,
    logger,
    ...parts,
  });
  provisioning.start();
  onTestFinished(async () => {
    await provisioning.stop();
    provider.close();
  });
  return provisioning;
}

export interface TestBatch {
  readonly id: string;
  readonly stream: StreamName;
  execute(command: BatchCommand): Promise<void>;
  resume(provider: Pick<Simulator, 'url'>): Promise<void>;
}

export async function requestBatch(
  handler: CommandHandler,
  { url }: Pick<Simulator, 'url'>,
  size: number,
  { concurrency = 10, prefix = '', project = 'acme' } = {},
): Promise<TestBatch> {
  const id = randomUUID();
  const stream = batchStream(project, id);
  const context = { projectId: project, actor: 'k1', correlationId: 'r1' };
  const execute = async (command: BatchCommand): Promise<void> => {
    await handler.execute(batchDecider, stream, command, context);
  };
  await execute({
    type: 'request',
    batchId: id,
    size,
    prefix,
    seed: randomBytes(32).toString('hex'),
    provider: url,
    concurrency,
    requestedAt: new Date().toISOString(),
  });
  const resume = (other: Pick<Simulator, 'url'>): Promise<void> =>
    execute({ type: 'resume', provider: other.url, resumedAt: new Date().toISOString() });
  return { id, stream, execute, resume };
}

export async function eventsOf(store: EventStore, stream: StreamName): Promise<BatchEvent[]> {
  const events: BatchEvent[] = [];
  for await (const recorded of store.readStream(stream)) {
    events.push(domainEvent(recorded) as BatchEvent);
  }
  return events;
}

export type Ending = 'BatchCompleted' | 'BatchFailed' | 'BatchStopped';

export async function eventually(
  store: EventStore,
  { stream }: Pick<TestBatch, 'stream'>,
  ending: Ending,
  timeoutMs = EVENTUALLY.timeout,
): Promise<BatchEvent[]> {
  return vi.waitFor(
    async () => {
      const events = await eventsOf(store, stream);
      const last = events.findLast(({ type }) => type.startsWith('Batch'));
      if (last?.type !== ending) throw new Error(`the batch stands at ${JSON.stringify(last)}`);
      return events;
    },
    { ...EVENTUALLY, timeout: timeoutMs },
  );
}

export interface Tally {
  readonly attempted: Set<string>;
  readonly registered: string[];
  readonly conflicted: string[];
  readonly unconfirmed: string[];
  /** Attempted, and neither of these. */
  readonly inFlight: Set<string>;
}

/** Counted by hand, event by event; `onEach` is told how it stands after each. */
export function tallyOf(
  events: readonly BatchEvent[],
  onEach: (tally: Tally) => void = () => undefined,
): Tally {
  const tally: Tally = {
    attempted: new Set(),
    registered: [],
    conflicted: [],
    unconfirmed: [],
    inFlight: new Set(),
  };
  for (const event of events) {
    if (event.type === 'DevEuiAttempted') {
      tally.attempted.add(event.data.devEui);
      tally.inFlight.add(event.data.devEui);
    }
    const ended = endings(tally)[event.type];
    if (ended !== undefined && 'devEui' in event.data) {
      ended.push(event.data.devEui);
      tally.inFlight.delete(event.data.devEui);
    }
    onEach(tally);
  }
  return tally;
}

function endings(tally: Tally): Partial<Record<BatchEvent['type'], string[]>> {
  return {
    DevEuiRegistered: tally.registered,
    DevEuiConflicted: tally.conflicted,
    DevEuiUnconfirmed: tally.unconfirmed,
  };
}

/** What must be so at every position of the log: nothing is lost, and it is never one too many. */
export function isBalanced(tally: Tally, size: number): boolean {
  const { attempted, registered, conflicted, unconfirmed, inFlight } = tally;
  const ended = registered.length + conflicted.length + unconfirmed.length;
  return (
    attempted.size === ended + inFlight.size &&
    registered.length + inFlight.size <= size &&
    inFlight.size <= 10
  );
}
