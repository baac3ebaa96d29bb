import { randomUUID } from 'node:crypto';
import {
  EventStoreDBClient,
  jsonEvent,
  NO_STREAM,
  type AllStreamSubscription,
  type AppendExpectedRevision,
  type EventData,
} from '@eventstore/db-client';
import { afterAll, beforeAll, onTestFinished, vi } from 'vitest';
import { EventStoreStandIn, type StandInOptions } from './stand-in.ts';

/** In the call they choose the path of one gRPC call an append. */
export const SINGLE_PATH = { credentials: { username: 'admin', password: 'changeit' } };

export let standIn: EventStoreStandIn;
export let client: EventStoreDBClient;

/** One for all tests of a file: each works in streams of its own. */
export function useStandIn(options?: StandInOptions): void {
  beforeAll(async () => {
    standIn = await EventStoreStandIn.start(options);
    client = EventStoreDBClient.connectionString(standIn.connectionString);
  });
  afterAll(async () => {
    await client.dispose();
    await standIn.close();
  });
}

export async function startAnother(options?: StandInOptions): Promise<EventStoreStandIn> {
  const another = await EventStoreStandIn.start(options);
  onTestFinished(() => another.close());
  return another;
}

/** Until the shared client has noticed, too. */
export async function restart(): Promise<void> {
  await standIn.restart();
  await vi.waitFor(() => client.appendToStream('restarted', event()), { timeout: 20_000 });
}

export function connect(connectionString: string): EventStoreDBClient {
  const another = EventStoreDBClient.connectionString(connectionString);
  onTestFinished(() => another.dispose());
  return another;
}

export function newStream(): string {
  return `tried-${randomUUID()}`;
}

export function event(type = 'Tried', data: EventData['data'] = {}): EventData {
  return jsonEvent({ type, data: data as Record<string, string> });
}

export function events(count: number, type?: string): EventData[] {
  return Array.from({ length: count }, () => event(type));
}

export async function append(
  stream: string,
  of: EventData | EventData[],
  expectedRevision: AppendExpectedRevision = NO_STREAM,
): Promise<{ revision: bigint; position: bigint }> {
  const { nextExpectedRevision, position } = await client.appendToStream(stream, of, {
    expectedRevision,
  });
  return { revision: nextExpectedRevision, position: position?.commit ?? -1n };
}

export interface Seen {
  readonly id: string;
  readonly revision: bigint;
  readonly position: bigint;
  readonly type: string;
  readonly stream: string;
  readonly created: Date;
}

interface Resolved {
  readonly event?: {
    readonly id: string;
    readonly revision: bigint;
    readonly type: string;
    readonly streamId: string;
    readonly created: Date;
    readonly position?: { readonly commit: bigint };
  };
}

function seen({ event }: Resolved): Seen {
  if (event?.position === undefined) throw new Error('an event without a position');
  const { id, revision, type, streamId, created, position } = event;
  return { id, revision, type, created, stream: streamId, position: position.commit };
}

export async function collect(source: AsyncIterable<Resolved>): Promise<Seen[]> {
  const all: Seen[] = [];
  for await (const resolved of source) all.push(seen(resolved));
  return all;
}

export function ids(of: readonly { readonly id: string }[]): string[] {
  return of.map(({ id }) => id);
}

export class Watched {
  readonly events: Seen[] = [];
  readonly signs: string[] = [];
  error: Error | undefined;

  constructor(readable: AllStreamSubscription) {
    for (const sign of ['confirmation', 'caughtUp'] as const) {
      readable.on(sign, () => this.signs.push(sign));
    }
    readable.on('error', (error) => {
      this.error = error;
    });
    readable.on('data', (resolved) => this.events.push(seen(resolved)));
    onTestFinished(() => readable.unsubscribe());
  }

  async isCaughtUp(): Promise<void> {
    await eventually(() => this.signs.includes('caughtUp'));
  }
}

export async function eventually(condition: () => boolean): Promise<void> {
  await vi.waitFor(
    () => {
      if (!condition()) throw new Error('not yet');
    },
    { timeout: 20_000, interval: 5 },
  );
}
