import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { LedgerError } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import type { Connection, Database } from './database.ts';
import { sql, type Sql } from './sql.ts';

/** A process that has not renewed its presence for so long appends nothing until it has. */
export const PRESENCE_MS = 30_000;
const RENEW_INTERVAL_MS = 5_000;
const RENEW_TIMEOUT_MS = 5_000;

export interface PresenceOptions {
  readonly database: Database;
  /** The log that this process may append to. */
  readonly logId: string;
  readonly logger: Logger;
  readonly presenceMs?: number;
}

/**
 * The right of this process to append to a log: a row in the database that a copy of the log looks
 * for (decision 14). The row outlives a lost connection, so that a copy never mistakes a process
 * without a connection for one that has stopped. The copy may remove the row only when it has not
 * been renewed for `presenceMs`, and by then this process no longer appends or acknowledges
 * anything.
 */
export class Presence {
  readonly #options: PresenceOptions;
  readonly #id = randomUUID();
  /**
   * Resolves when it is closed; rejects when a copy has removed it, and this process has to end.
   */
  readonly ended: Promise<void>;
  readonly #resolveEnded: () => void;
  readonly #rejectEnded: (error: Error) => void;
  #connection: Promise<Connection> | undefined;
  #renewed: Moment = now();
  #renewing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isRemoved = false;

  private constructor(options: PresenceOptions) {
    this.#options = options;
    let resolveEnded = (): void => undefined;
    let rejectEnded = (_error: Error): void => undefined;
    this.ended = new Promise((resolve, reject) => {
      resolveEnded = resolve;
      rejectEnded = reject;
    });
    this.#resolveEnded = resolveEnded;
    this.#rejectEnded = rejectEnded;
    // The rejection must not end a tool that does not wait for it: its appends fail.
    this.ended.catch(() => undefined);
  }

  /** @throws LedgerError `store-unavailable` */
  static async announce(options: PresenceOptions): Promise<Presence> {
    const presence = new Presence(options);
    try {
      const name = `pid ${process.pid} on ${hostname()}`;
      await presence.#query(sql`
        insert into engine.presences (presence_id, log_id, process)
        values (${presence.#id}, ${options.logId}, ${name})`);
    } catch (error) {
      await presence.close();
      throw error;
    }
    presence.#timer = setInterval(() => {
      presence.#renew().catch((error: unknown) => {
        options.logger.debug({ err: error }, 'cannot renew the presence of this process: retrying');
      });
    }, RENEW_INTERVAL_MS);
    return presence;
  }

  /**
   * Settles while the row cannot have been removed.
   * @throws LedgerError `store-unavailable`
   */
  async confirm(): Promise<void> {
    if (this.#isRemoved) throw removed();
    const { presenceMs = PRESENCE_MS } = this.#options;
    if (elapsedMs(this.#renewed) < presenceMs) return;
    await this.#renew();
  }

  /** Nothing may be appended any more. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#renewing?.catch(() => undefined);
    // Where that fails, a copy of the log waits until the row is old enough to be removed.
    await this.#query(
      sql`
      delete from engine.presences
      where presence_id = ${this.#id}`,
    ).catch((error: unknown) => {
      this.#options.logger.debug({ err: error }, 'cannot remove the presence of this process');
    });
    const connection = await this.#connection?.catch(() => undefined);
    await connection?.close();
    this.#resolveEnded();
  }

  #renew(): Promise<void> {
    this.#renewing ??= this.#renewOnce().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #renewOnce(): Promise<void> {
    // Measured before the statement is sent: the row is not renewed earlier than that.
    const renewed = now();
    const [row] = await this.#query(sql`
      update engine.presences
      set renewals = renewals + 1
      where presence_id = ${this.#id}
      returning renewals`);
    if (row !== undefined) {
      this.#renewed = renewed;
      return;
    }
    this.#isRemoved = true;
    clearInterval(this.#timer);
    this.#rejectEnded(removed());
    throw removed();
  }

  async #query(statement: Sql): Promise<object[]> {
    const connection = await this.#connected();
    return connection.query(statement, { timeoutMs: RENEW_TIMEOUT_MS });
  }

  /** A connection of its own: whether the process may append must not depend on how busy it is. */
  #connected(): Promise<Connection> {
    if (this.#connection !== undefined) return this.#connection;
    const connecting = this.#options.database.connect();
    const forget = (): void => {
      if (this.#connection === connecting) this.#connection = undefined;
    };
    connecting.then((connection) => connection.onLost(forget), forget);
    this.#connection = connecting;
    return connecting;
  }
}

function removed(): LedgerError {
  return new LedgerError(
    'store-unavailable',
    'This process may not append any more: the log was copied while it was cut off from its ' +
      'database. Restart it with the log that is in use.',
  );
}

interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

function now(): Moment {
  return { monotonicMs: performance.now(), wallMs: Date.now() };
}

/** The larger of both: one clock stops while the machine sleeps, the other may be set back. */
function elapsedMs({ monotonicMs, wallMs }: Moment): number {
  return Math.max(performance.now() - monotonicMs, Date.now() - wallMs);
}

interface PresenceRow {
  readonly id: string;
  readonly process: string;
  readonly renewals: bigint;
}

/** Watches for a copy of a log which processes may append to it. */
export class PresenceWatch {
  readonly #database: Database;
  readonly #logId: string;
  readonly #presenceMs: number;
  #seen = new Map<string, { readonly renewals: bigint; readonly sinceMs: number }>();

  constructor(database: Database, logId: string, presenceMs = PRESENCE_MS) {
    this.#database = database;
    this.#logId = logId;
    this.#presenceMs = presenceMs;
  }

  /** Descriptions of the processes that may append. Those that died are removed. */
  async present(): Promise<readonly string[]> {
    const rows = await this.#database.query<PresenceRow>(sql`
      select presence_id as id, process, renewals
      from engine.presences
      where log_id = ${this.#logId}
      order by process`);
    const before = this.#seen;
    this.#seen = new Map();
    const present: string[] = [];
    for (const { id, process, renewals } of rows) {
      const known = before.get(id);
      const seen = known?.renewals === renewals ? known : { renewals, sinceMs: performance.now() };
      this.#seen.set(id, seen);
      const isSilent = performance.now() - seen.sinceMs > this.#presenceMs;
      if (!isSilent || !(await this.#remove(id, renewals))) present.push(process);
    }
    return present;
  }

  /** False when it was renewed meanwhile. */
  async #remove(id: string, renewals: bigint): Promise<boolean> {
    const removed = await this.#database.query(sql`
      delete from engine.presences
      where presence_id = ${id}
        and renewals = ${renewals}
      returning presence_id`);
    return removed.length > 0;
  }
}
