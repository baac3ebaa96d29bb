import { randomUUID } from 'node:crypto';
import type { Decider } from '../../../src/commands/core/decider.ts';
import type { CommandContext, CommandIdentity } from '../../../src/commands/core/context.ts';
import type { Handled } from '../../../src/commands/core/handler.ts';
import type { SensorEvent } from '../../../src/events/state.ts';
import type { EventStore, RecordedEvent } from '../../../src/event-store/port.ts';
import type { StreamName } from '../../../src/event-store/stream-name.ts';
import { testStreamName } from '../../event-store/test-stream-name.ts';
import { LedgerError } from '../../../src/shared/errors.ts';
import { context, type WriteProcess } from './write-process.ts';

export interface Meter {
  readonly total: number;
  readonly count: number;
}

export type MeterCommand =
  | { readonly type: 'add'; readonly amount: number }
  /** Adds what is missing; nothing when nothing is. */
  | { readonly type: 'raise-to'; readonly total: number }
  | { readonly type: 'refuse' };

/**
 * A meter: each reading is the last one and what was added, so that a lost or repeated command
 * shows in every total that comes after it.
 */
export const meter: Decider<Meter, MeterCommand, SensorEvent> = {
  fold: 'meter:1',
  initialState: { total: 0, count: 0 },
  decide({ total }, command) {
    if (command.type === 'refuse') throw new LedgerError('forbidden', `The total is ${total}.`);
    const next = command.type === 'add' ? total + command.amount : Math.max(total, command.total);
    return next === total ? [] : [read(next)];
  },
  evolve: ({ count }, event) =>
    event.type === 'SensorPatched'
      ? { total: event.data.patch['total'] as number, count: count + 1 }
      : { total: 0, count },
  sizeOf: () => 16,
};

export function read(total: number): SensorEvent {
  const receivedAt = '2026-01-31T12:00:00.000Z';
  return { type: 'SensorPatched', data: { sensorId: 'meter', patch: { total }, receivedAt } };
}

export const add = (amount: number): MeterCommand => ({ type: 'add', amount });
export const raiseTo = (total: number): MeterCommand => ({ type: 'raise-to', total });

let streams = 0;

/** A stream of the test's own. */
export function newStream(): StreamName {
  streams += 1;
  return testStreamName('meter', 'acme', String(streams));
}

export function execute(
  { handler }: WriteProcess,
  stream: StreamName,
  command: MeterCommand,
  extra: Partial<CommandContext> = {},
): Promise<Handled<Meter>> {
  return handler.execute(meter, stream, command, { ...context, ...extra });
}

export async function newIdentity({ store }: WriteProcess): Promise<CommandIdentity> {
  return { id: randomUUID(), reservedAt: await store.head() };
}

export async function recorded(store: EventStore, stream: StreamName): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of store.readStream(stream)) events.push(event);
  return events;
}

/** The totals in the order in which they were recorded. */
export async function totals({ store }: WriteProcess, stream: StreamName): Promise<number[]> {
  const events = await recorded(store, stream);
  return events.map(({ data }) => (data['patch'] as { total: number }).total);
}

export const oneTo = (count: number): number[] =>
  Array.from({ length: count }, (_, index) => index + 1);
