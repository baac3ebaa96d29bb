import type { Database } from '../../../database/database.ts';
import { rowsAs, type Columns } from '../../../database/rows.ts';
import { sql } from '../../../database/sql.ts';
import type { Logger } from '../../../shared/logger.ts';
import { RETIRED_TOKEN } from '../generations/checkpoint.ts';
import type { Generation } from '../generations/generations.ts';

/** The right to write one generation, while `signal` is not aborted and `token` is the highest. */
export interface Lease {
  readonly token: bigint;
  /** Aborted when the lease is known to be lost. */
  readonly signal: AbortSignal;
  release(): Promise<void>;
}

/**
 * The lease of a dead holder is free after this time, and a waiting process asks for it every
 * `RETRY_INTERVAL_MS`, so it is taken over within 2 s.
 */
const TIME_TO_LIVE = '1500 ms';
const RENEW_INTERVAL_MS = 400;
export const RETRY_INTERVAL_MS = 300;

interface HeldLease {
  readonly generation: Generation;
  readonly token: bigint;
  readonly lost: AbortController;
}

const RENEWED: Columns<HeldLease> = {
  projection: ['text', ({ generation }) => generation.projection],
  generation: ['integer', ({ generation }) => generation.generation],
  token: ['bigint', ({ token }) => token],
};

/**
 * The leases of this process, renewed together. Only the database's clock counts. A holder that was
 * stalled, or could not reach the database, may believe in a lease that has expired: that does no
 * harm, since the token in the checkpoint fences it off (decision 5).
 *
 * Rejected: session-level advisory locks, which a stalled process keeps for as long as its
 * connection lives.
 */
export class Leases {
  readonly #database: Database;
  readonly #holder: string;
  readonly #logger: Logger;
  readonly #held = new Set<HeldLease>();
  #timer: NodeJS.Timeout | undefined;
  #isRenewing = false;

  constructor(database: Database, holder: string, logger: Logger) {
    this.#database = database;
    this.#holder = holder;
    this.#logger = logger;
  }

  /** The lease, or undefined when another process holds it. */
  async tryAcquire(generation: Generation): Promise<Lease | undefined> {
    // One statement, so that no process can stall in the middle of it. No token is given twice.
    const [row] = await this.#database.query<{ token: bigint }>(sql`
      with acquired as (
        insert into engine.leases as held (projection, generation, holder, token, expires_at)
        select
          g.projection,
          g.generation,
          ${this.#holder},
          nextval('engine.lease_tokens'),
          clock_timestamp() + ${TIME_TO_LIVE}::interval
        from engine.generations g
        where g.projection = ${generation.projection}
          and g.generation = ${generation.generation}
          and g.status = ${generation.status}
        on conflict (projection, generation) do update
        set holder = excluded.holder,
            token = excluded.token,
            expires_at = excluded.expires_at
        where held.expires_at < clock_timestamp()
        returning token
      )
      update ${sql.raw(generation.schema)}.checkpoint c
      set token = acquired.token
      from acquired
      where c.token <> ${RETIRED_TOKEN}
      returning acquired.token`);
    if (row === undefined) return undefined;
    return this.#hold({ generation, token: row.token, lost: new AbortController() });
  }

  /** Takes the lease away from its holder, which cannot commit anything from now on. */
  async revoke(generation: Generation): Promise<void> {
    await this.#database.query(sql`
      with revoked as (
        update engine.leases
        set token = nextval('engine.lease_tokens'),
            expires_at = '-infinity'
        where projection = ${generation.projection}
          and generation = ${generation.generation}
        returning token
      )
      update ${sql.raw(generation.schema)}.checkpoint c
      set token = revoked.token
      from revoked
      where c.token <> ${RETIRED_TOKEN}`);
  }

  #hold(lease: HeldLease): Lease {
    this.#held.add(lease);
    this.#timer ??= setInterval(() => void this.#renew(), RENEW_INTERVAL_MS);
    return {
      token: lease.token,
      signal: lease.lost.signal,
      release: async () => {
        this.#drop(lease);
        await this.#database.query(sql`
          update engine.leases
          set expires_at = '-infinity'
          where projection = ${lease.generation.projection}
            and generation = ${lease.generation.generation}
            and token = ${lease.token}`);
      },
    };
  }

  #drop(lease: HeldLease): void {
    this.#held.delete(lease);
    if (this.#held.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #renew(): Promise<void> {
    // A slow database would otherwise get more to do with each tick.
    if (this.#isRenewing) return;
    this.#isRenewing = true;
    const leases = [...this.#held];
    try {
      const renewed = await this.#database.query<{ token: bigint }>(sql`
        update engine.leases held
        set expires_at = clock_timestamp() + ${TIME_TO_LIVE}::interval
        from ${rowsAs('mine', RENEWED, leases)}
        where held.projection = mine.projection
          and held.generation = mine.generation
          and held.token = mine.token
          and held.expires_at >= clock_timestamp()
        returning held.token`);
      const kept = new Set(renewed.map(({ token }) => token));
      for (const lease of leases) {
        if (kept.has(lease.token) || !this.#held.has(lease)) continue;
        this.#logger.debug({ ...lease.generation }, 'lease of a generation lost');
        this.#drop(lease);
        lease.lost.abort();
      }
    } catch (error) {
      // The leases may still be held; whoever has taken one meanwhile fences this process off.
      this.#logger.debug({ err: error }, 'cannot renew leases');
    } finally {
      this.#isRenewing = false;
    }
  }
}
