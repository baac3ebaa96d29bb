import type { Database } from '../../../database/database.ts';
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
 * A dead holder's lease is free after this, and a waiting process asks for it every
 * `RETRY_INTERVAL_MS`: within 2 s together.
 */
const TIME_TO_LIVE_MS = 1_500;
const RENEW_INTERVAL_MS = 400;
export const RETRY_INTERVAL_MS = 300;

interface HeldLease {
  readonly generation: Generation;
  readonly token: bigint;
  readonly lost: AbortController;
}

/**
 * Leases of this process, renewed together. They rest on the database's clock alone. A holder may
 * believe in a lease that is over (it was stalled, or could not reach the database): the token in
 * the checkpoint fences it off, so believing does no harm.
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
    // One statement, so that no process can stall in the midst of it. Tokens are never given twice, also
    // not for another generation: after a swap the same name is that of other tables.
    const [row] = await this.#database.query<{ token: bigint }>({
      text: `
        with acquired as (
          insert into engine.leases as held (projection, generation, holder, token, expires_at)
          select
            g.projection,
            g.generation,
            $3, /* holder */
            nextval('engine.lease_tokens'),
            clock_timestamp() + $4 * interval '1 millisecond' /* time to live */
          from engine.generations g
          where g.projection = $1 /* projection */
            and g.generation = $2 /* generation */
            and g.status = $5 /* status */
          on conflict (projection, generation) do update
          set holder = excluded.holder,
              token = excluded.token,
              expires_at = excluded.expires_at
          where held.expires_at < clock_timestamp()
          returning token
        )
        update ${generation.schema}.checkpoint c
        set token = acquired.token
        from acquired
        where c.token <> ${RETIRED_TOKEN}
        returning acquired.token`,
      values: [
        generation.projection,
        generation.generation,
        this.#holder,
        TIME_TO_LIVE_MS,
        generation.status,
      ],
    });
    if (row === undefined) return undefined;
    return this.#hold({ generation, token: row.token, lost: new AbortController() });
  }

  /** Takes the lease away from whoever holds it: what that has not committed by now, it cannot. */
  async revoke(generation: Generation): Promise<void> {
    await this.#database.query({
      text: `
        with revoked as (
          update engine.leases
          set token = nextval('engine.lease_tokens'),
              expires_at = '-infinity'
          where projection = $1 /* projection */
            and generation = $2 /* generation */
          returning token
        )
        update ${generation.schema}.checkpoint c
        set token = revoked.token
        from revoked
        where c.token <> ${RETIRED_TOKEN}`,
      values: [generation.projection, generation.generation],
    });
  }

  #hold(lease: HeldLease): Lease {
    this.#held.add(lease);
    this.#timer ??= setInterval(() => void this.#renew(), RENEW_INTERVAL_MS);
    return {
      token: lease.token,
      signal: lease.lost.signal,
      release: async () => {
        this.#drop(lease);
        await this.#database.query({
          text: `
            update engine.leases
            set expires_at = '-infinity'
            where projection = $1 /* projection */
              and generation = $2 /* generation */
              and token = $3 /* token */`,
          values: [lease.generation.projection, lease.generation.generation, lease.token],
        });
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
    // A database that is slow would otherwise get more to do with each tick.
    if (this.#isRenewing) return;
    this.#isRenewing = true;
    const leases = [...this.#held];
    try {
      const renewed = await this.#database.query<{ ordinal: bigint }>({
        name: 'renew-leases',
        text: `
          update engine.leases held
          set expires_at = clock_timestamp() + $4 * interval '1 millisecond' /* time to live */
          from unnest(
            $1::text[],    /* projections */
            $2::integer[], /* generations */
            $3::bigint[]   /* tokens */
          ) with ordinality as mine (projection, generation, token, ordinal)
          where held.projection = mine.projection
            and held.generation = mine.generation
            and held.token = mine.token
            and held.expires_at >= clock_timestamp()
          returning mine.ordinal`,
        values: [
          leases.map(({ generation }) => generation.projection),
          leases.map(({ generation }) => generation.generation),
          leases.map(({ token }) => token),
          TIME_TO_LIVE_MS,
        ],
      });
      const kept = new Set(renewed.map(({ ordinal }) => Number(ordinal) - 1));
      for (const [index, lease] of leases.entries()) {
        if (kept.has(index) || !this.#held.has(lease)) continue;
        // What that means, its holder knows.
        this.#logger.debug({ ...lease.generation }, 'the lease of a generation was lost');
        this.#drop(lease);
        lease.lost.abort();
      }
    } catch (error) {
      // Not lost by that: whoever took it meanwhile fences us off.
      this.#logger.debug({ err: error }, 'leases could not be renewed');
    } finally {
      this.#isRenewing = false;
    }
  }
}
