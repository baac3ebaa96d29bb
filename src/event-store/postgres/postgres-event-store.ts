import type { KeptConnection } from '../../database/kept-connection.ts';
import { sql } from '../../database/sql.ts';
import { listen } from '../../database/listener.ts';
import type { Database } from '../../database/database.ts';
import type { Logger } from '../../shared/logger.ts';
import {
  BEGINNING,
  type Appended,
  type Batch,
  type CopyTarget,
  type OpenEventStore,
  type Position,
  type ReadAllOptions,
  type ReadStreamOptions,
  type RecordedEvent,
  type SubscribeOptions,
  type Write,
} from '../port.ts';
import type { StreamName } from '../stream-name.ts';
import { APPENDED_CHANNEL, AppendAnnouncements } from './append-announcements.ts';
import { AppendSignal } from '../append-signal.ts';
import { BatchReader } from './batch-reader.ts';
import { GroupCommit } from './group-commit.ts';
import { postgresCopyTarget } from './postgres-copy-target.ts';
import { RecentEvents } from './recent-events.ts';
import { readStream } from './stream-reader.ts';
import { isTransient } from '../../shared/errors.ts';

export interface PostgresEventStoreOptions {
  readonly database: Database;
  /** The connections that subscriptions and looks at the head use. Default: `database`. */
  readonly followers?: Database;
  readonly logger: Logger;
  /** How long a subscription waits for news before it reads the table. */
  readonly pollIntervalMs?: number;
}

/**
 * The log in PostgreSQL (15 and later): `migrations/0001_log.sql` says how it keeps its promises.
 */
export async function openPostgresEventStore(
  options: PostgresEventStoreOptions,
): Promise<OpenEventStore> {
  const [row] = await options.database.query<{ logId: string }>(sql`
    select log_id as "logId"
    from ledger.log`);
  if (row === undefined) throw new Error('ledger.log holds no row: the schema is damaged');
  return new PostgresEventStore(row.logId, options);
}

const POLL_INTERVAL_MS = 500;
const RESUME_AFTER_MS = 200;
const RECENT_EVENTS_PER_BATCH = 1_000;

class PostgresEventStore implements OpenEventStore {
  readonly logId: string;
  readonly copyTarget: CopyTarget;
  resumedSubscriptions = 0;
  readonly #database: Database;
  readonly #followers: Database;
  readonly #logger: Logger;
  readonly #pollIntervalMs: number;
  readonly #groupCommit: GroupCommit;
  readonly #recent = new RecentEvents();
  readonly #appended = new AppendSignal();
  readonly #announcements: AppendAnnouncements;
  readonly #listener: KeptConnection;
  /** The newest position that was appended here or heard of. */
  #newestKnown: Position = BEGINNING;

  constructor(logId: string, options: PostgresEventStoreOptions) {
    const { database, followers = database, logger, pollIntervalMs } = options;
    this.logId = logId;
    this.#followers = followers;
    this.copyTarget = postgresCopyTarget(database);
    this.#database = database;
    this.#logger = logger;
    this.#pollIntervalMs = pollIntervalMs ?? POLL_INTERVAL_MS;
    this.#announcements = new AppendAnnouncements(database, logger);
    this.#groupCommit = new GroupCommit({
      database,
      logger,
      onStored: (stored) => {
        this.#recent.add(stored);
        const last = stored.at(-1);
        if (last === undefined) return;
        const position = (last.firstPosition + BigInt(last.write.events.length) - 1n) as Position;
        this.#isNews(position);
        this.#announcements.announce(position);
      },
    });
    this.#listener = listen(
      database,
      [APPENDED_CHANNEL],
      (payload) => this.#heard(payload),
      logger,
    );
  }

  append(writes: readonly Write[]): Promise<Appended[]> {
    return this.#groupCommit.append(writes);
  }

  readStream(stream: StreamName, options: ReadStreamOptions = {}): AsyncIterable<RecordedEvent> {
    return readStream(this.#database, stream, options);
  }

  async *readAll({ after, until, ...filter }: ReadAllOptions): AsyncIterable<Batch> {
    const reader = new BatchReader(this.#database, filter);
    const end = until ?? (await this.head());
    let position = after;
    while (position < end) {
      const batch = await reader.read(position, end);
      if (batch === undefined) return;
      yield batch;
      position = batch.position;
    }
  }

  async *subscribe({ after, types, signal }: SubscribeOptions): AsyncIterable<Batch> {
    const reader = new BatchReader(this.#followers, types === undefined ? {} : { types });
    const wanted = types === undefined ? undefined : new Set(types);
    let position = after;
    let isUpToDate = false;
    while (!signal.aborted) {
      // Taken before the reading: what is appended during it ends the wait below at once.
      const news = this.#appended.next();
      const recent = this.#recent.after(position, RECENT_EVENTS_PER_BATCH);
      if (recent !== undefined) {
        position = recent.at(-1)?.position ?? position;
        const events =
          wanted === undefined ? recent : recent.filter(({ type }) => wanted.has(type));
        yield { events, position };
        continue;
      }
      if (!isUpToDate || position < this.#newestKnown) {
        const batch = await this.#readWhenAvailable(reader, position, signal);
        if (batch !== undefined) {
          if (signal.aborted) return;
          position = batch.position;
          yield batch;
          continue;
        }
      }
      // A subscription that is told of every append reads the table only when it may have missed
      // one.
      isUpToDate = (await news.wait(this.#pollIntervalMs, signal)) === 'news';
    }
  }

  end(): Promise<Position> {
    return this.head();
  }

  async head(): Promise<Position> {
    const [row] = await this.#followers.query<{ head: bigint | null }>({
      name: 'head',
      text: 'select max(position) as head from ledger.events',
    });
    return (row?.head ?? BEGINNING) as Position;
  }

  async positionAt(time: Date): Promise<Position> {
    // A binary search: positions are dense, and `recorded_at` never falls from one to the next, but
    // where the clock was put back. The last stretch between two such steps that begins in time
    // holds the answer, which is always from low to high. A subquery, since a join might be planned
    // as a scan of all.
    const [row] = await this.#database.query<{ position: bigint }>(sql`
        with recursive stretch as (
          select coalesce(max(e.position), 0) as first
          from ledger.clock_steps s
          join ledger.events e on e.position = s.position
          where e.recorded_at <= ${time}
        ),
        search (low, high) as (
          select
            greatest(stretch.first - 1, 0),
            coalesce(
              (select min(position) - 1 from ledger.clock_steps where position > stretch.first),
              (select max(position) from ledger.events),
              0
            )
          from stretch
          union all
          select
            case when is_in_time then middle else low end,
            case when is_in_time then high else middle - 1 end
          from (
            select low, high, middle, (
              select e.recorded_at <= ${time}
              from ledger.events e
              where e.position = middle
            ) as is_in_time
            from (
              select low, high, (low + high + 1) / 2 as middle
              from search
              where low < high
            ) as halved
          ) as probed
        )
        select low as position
        from search
        where low = high`);
    return (row?.position ?? BEGINNING) as Position;
  }

  async close(): Promise<void> {
    await this.#groupCommit.close();
    await this.#announcements.close();
    await this.#listener.close();
  }

  /** A notification: of another process, or of this one, which knows that already. */
  #heard(payload: string): void {
    if (payload !== '') {
      this.#isNews(BigInt(payload) as Position);
      return;
    }
    // Listening began, or began again: what was appended before has to be asked for.
    this.head().then(
      (head) => this.#isNews(head),
      (error: unknown) =>
        this.#logger.debug({ err: error }, 'cannot listen for notifications: polling'),
    );
  }

  #isNews(position: Position): void {
    if (position <= this.#newestKnown) return;
    this.#newestKnown = position;
    this.#appended.notify();
  }

  /**
   * Waits while an error is transient (the database is unavailable, a statement was cancelled): the
   * subscription resumes.
   */
  async #readWhenAvailable(
    reader: BatchReader,
    position: Position,
    signal: AbortSignal,
  ): Promise<Batch | undefined> {
    while (!signal.aborted) {
      try {
        return await reader.read(position);
      } catch (error) {
        if (!isTransient(error)) throw error;
        this.resumedSubscriptions += 1;
        this.#logger.debug({ err: error }, 'cannot read the log: the subscription retries');
        await this.#appended.next().wait(RESUME_AFTER_MS, signal);
      }
    }
    return undefined;
  }
}
