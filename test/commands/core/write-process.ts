import { beforeAll, expect, onTestFinished, vi } from 'vitest';
import { FoldedStates } from '../../../src/commands/core/folded-states.ts';
import type { CommandContext } from '../../../src/commands/core/context.ts';
import { CommandHandler } from '../../../src/commands/core/handler.ts';
import { openDatabase, type Database } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrations.ts';
import type {
  Appended,
  EventStore,
  ReadStreamOptions,
  SnapshotStore,
  Write,
} from '../../../src/event-store/port.ts';
import { openPostgresSnapshotStore } from '../../../src/event-store/postgres/postgres-snapshot-store.ts';
import type { LogWentBackError } from '../../../src/event-store/log-went-back.ts';
import type { StreamName } from '../../../src/event-store/stream-name.ts';
import { LedgerError } from '../../../src/shared/errors.ts';
import { createLogger } from '../../../src/shared/logger.ts';
import { createTestDatabase } from '../../database/test-database.ts';
import { openTestLog } from '../../event-store/test-log.ts';
import { closedGate, type Gate } from '../../gate.ts';

const logger = createLogger('silent');

export const context: CommandContext = { projectId: 'acme', actor: 'k1', correlationId: 'r1' };

export const EVENTUALLY = { timeout: 20_000, interval: 10 };

/** What a process of its own has of the write side: nothing in it is shared with another. */
export interface WriteProcess {
  readonly database: Database;
  readonly store: WatchedStore;
  readonly snapshots: SnapshotStore;
  readonly handler: CommandHandler;
  /** Why it is to end. */
  readonly endings: readonly LogWentBackError[];
}

/**
 * A database of the test file's own, and what starts processes on it, which are closed when their
 * test ends. To be called at the top level of the file. `openLog`: instead of the log of the run.
 */
export function prepareWriteProcesses(
  openLog: typeof openTestLog = openTestLog,
): () => Promise<WriteProcess> {
  const { url } = createTestDatabase();
  beforeAll(async () => {
    const database = openDatabase({ url, logger });
    await migrate(database, logger);
    await database.close();
  });
  return () => startWriteProcess(url, openLog);
}

async function startWriteProcess(url: string, openLog: typeof openTestLog): Promise<WriteProcess> {
  const database = openDatabase({ url, logger, maxConnections: 4 });
  const log = await openLog({ databaseUrl: url, database, logger });
  onTestFinished(async () => {
    await log.close();
    await database.close();
  });
  const store = new WatchedStore(log);
  const snapshots = openPostgresSnapshotStore(database, log.logId);
  const endings: LogWentBackError[] = [];
  const states = new FoldedStates(store, snapshots, logger, (error) => endings.push(error));
  return { database, store, snapshots, handler: new CommandHandler(store, states), endings };
}

interface Fault {
  readonly when: 'before it is stored' | 'after it was stored';
  /** The streams that fail. */
  readonly of: string;
  /** An event that the append has to hold. */
  readonly type: string | undefined;
  readonly error: Error;
}

/** A log that says what was asked of it, and can be held up or made to fail. */
class WatchedStore implements EventStore {
  readonly logId: string;
  readonly appended: { readonly write: Write; readonly answer: Appended }[] = [];
  readonly reads: { readonly stream: StreamName; readonly options: ReadStreamOptions }[] = [];
  eventsRead = 0;
  readonly #store: EventStore;
  #faults: Fault[] = [];
  #held: { readonly of: string; readonly gate: Gate } | undefined;
  #waiting = 0;

  constructor(store: EventStore) {
    this.#store = store;
    this.logId = store.logId;
  }

  /** The appends of an appender that came too late. */
  get conflicts(): number {
    return this.appended.filter(({ answer }) => answer.outcome === 'conflict').length;
  }

  /** Settles when an append is being held up. */
  async holdsOne(): Promise<void> {
    await vi.waitFor(() => expect(this.#waiting).toBe(1), EVENTUALLY);
  }

  /**
   * The next append to streams of a category fails, as when the store goes away, or with an error.
   */
  failNextAppend(
    category: string,
    when: Fault['when'],
    { type, error = away() }: { readonly type?: string; readonly error?: Error } = {},
  ): void {
    this.#faults.push({ of: `${category}-`, when, type, error });
  }

  /** Holds up appends to streams of a category until the returned function is called. */
  holdAppends(category: string): () => void {
    const gate = closedGate();
    this.#held = { of: `${category}-`, gate };
    return () => {
      this.#held = undefined;
      gate.open();
    };
  }

  async append(writes: readonly Write[]): Promise<Appended[]> {
    const held = this.#held;
    if (held !== undefined && writes.some(({ stream }) => stream.startsWith(held.of))) {
      this.#waiting += 1;
      await held.gate.passed;
      this.#waiting -= 1;
    }
    const fault = this.#faults.find(({ of, type }) =>
      writes.some(
        ({ stream, events }) =>
          stream.startsWith(of) &&
          (type === undefined || events.some((event) => event.type === type)),
      ),
    );
    this.#faults = this.#faults.filter((one) => one !== fault);
    if (fault?.when === 'before it is stored') throw fault.error;
    const answers = await this.#store.append(writes);
    if (fault?.when === 'after it was stored') throw fault.error;
    for (const [index, answer] of answers.entries()) {
      const write = writes[index];
      if (write !== undefined) this.appended.push({ write, answer });
    }
    return answers;
  }

  async *readStream(stream: StreamName, options: ReadStreamOptions = {}) {
    this.reads.push({ stream, options });
    for await (const event of this.#store.readStream(stream, options)) {
      this.eventsRead += 1;
      yield event;
    }
  }

  readAll(options: Parameters<EventStore['readAll']>[0]) {
    return this.#store.readAll(options);
  }

  subscribe(options: Parameters<EventStore['subscribe']>[0]) {
    return this.#store.subscribe(options);
  }

  head() {
    return this.#store.head();
  }

  end() {
    return this.#store.end();
  }

  positionAt(time: Date) {
    return this.#store.positionAt(time);
  }
}

function away(): LedgerError {
  return new LedgerError(
    'store-unavailable',
    'The database is unavailable: try again in a moment.',
  );
}
