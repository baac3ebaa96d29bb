import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { onTestFinished, vi } from 'vitest';
import { AppendCall } from '../../src/event-store/eventstoredb/append-call.ts';
import { Appender } from '../../src/event-store/eventstoredb/appender.ts';
import { connect } from '../../src/event-store/eventstoredb/connection.ts';
import { openEventStoreDB } from '../../src/event-store/eventstoredb/eventstoredb-event-store.ts';
import { Reading } from '../../src/event-store/eventstoredb/reading.ts';
import { StreamNames } from '../../src/event-store/eventstoredb/wire-event.ts';
import { BEGINNING, type OpenEventStore, type Position } from '../../src/event-store/port.ts';
import type { Logger } from '../../src/shared/logger.ts';
import { EventStoreStandIn, type StandInOptions } from './eventstoredb/stand-in.ts';

export interface LogLine {
  readonly level: number;
  readonly msg: string;
}

/** A logger that keeps what is at level warn or above. */
export function recordingLogger(): { logger: Logger; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const write = (line: string): void => {
    lines.push(JSON.parse(line) as LogLine);
  };
  return { logger: pino({ level: 'warn' }, { write }), lines };
}

/** A server of the test's own. */
export async function startServer(options?: StandInOptions): Promise<EventStoreStandIn> {
  const server = await EventStoreStandIn.start(options);
  onTestFinished(() => server.close());
  return server;
}

export interface OpenOptions {
  /** Opened under another one, a log has a connection of its own. */
  readonly connectionName?: string;
  readonly streamPrefix?: string;
  readonly logger?: Logger;
}

export async function openLog(
  server: EventStoreStandIn,
  { connectionName, streamPrefix, logger = pino({ level: 'silent' }) }: OpenOptions = {},
): Promise<OpenEventStore> {
  let url = server.connectionString;
  if (connectionName !== undefined) url += `&connectionName=${connectionName}`;
  if (streamPrefix !== undefined) url += `&streamPrefix=${streamPrefix}`;
  const store = await openEventStoreDB({ url, logger, categories: ['contract'] });
  onTestFinished(() => store.close());
  return store;
}

export interface AppenderUnderTest {
  readonly appender: Appender;
  readonly lines: readonly LogLine[];
}

export interface AppenderTimes {
  readonly attemptTimeoutMs?: number;
  readonly retryForMs?: number;
  readonly readableWithinMs?: number;
}

/** With a connection of its own, and nothing else that appends. */
export function openAppender(
  server: EventStoreStandIn,
  connectionName: string,
  times: AppenderTimes = {},
): AppenderUnderTest {
  const connection = connect(`${server.connectionString}&connectionName=${connectionName}`);
  const { logger, lines } = recordingLogger();
  let newest: Position = BEGINNING;
  const appender = new Appender({
    call: new AppendCall(connection.client),
    reading: new Reading(connection.client),
    names: new StreamNames('', ['contract']),
    logger,
    newestKnown: () => newest,
    onStored: (position) => {
      if (position > newest) newest = position;
    },
    ...times,
  });
  onTestFinished(() => connection.close());
  return { appender, lines };
}

/** Asked in every turn of the event loop, so that nothing that crosses a connection gets ahead. */
export async function asSoonAs(condition: () => boolean): Promise<void> {
  while (!condition()) await setImmediate();
}

export async function eventually(condition: () => boolean, what = 'not yet'): Promise<void> {
  await vi.waitFor(
    () => {
      if (!condition()) throw new Error(what);
    },
    { timeout: 15_000, interval: 2 },
  );
}

/** What nobody has caught, in this process, since this call. */
export function watchUnhandledRejections(): unknown[] {
  const unhandled: unknown[] = [];
  const listener = (reason: unknown): void => {
    unhandled.push(reason);
  };
  process.on('unhandledRejection', listener);
  onTestFinished(() => {
    process.off('unhandledRejection', listener);
  });
  return unhandled;
}
