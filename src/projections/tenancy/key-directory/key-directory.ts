import { LRUCache } from 'lru-cache';
import {
  BEGINNING,
  type EventStore,
  type Position,
  type Write,
} from '../../../event-store/port.ts';
import { Batched } from '../../../shared/batched.ts';
import { LedgerError } from '../../../shared/errors.ts';
import { LogFollower } from '../../../event-store/log-follower.ts';
import {
  changedKey,
  changedStatus,
  holderSubject,
  isKeyChange,
  KEY_CHANGES,
  keyChange,
  KeyChanges,
  keySubject,
  subjectOf,
  type KeyChange,
} from './key-changes.ts';
import type {
  KeyAddress,
  KeyHolder,
  KeyLookup,
  KeyQueries,
  KeyRow,
} from '../queries/key-holders.ts';

const MAX_CACHED_KEYS = 50_000;
/** Apart from the keys that exist: whoever tries ids at random must not push those out. */
const MAX_CACHED_UNKNOWN_IDS = 10_000;
const MAX_KEYS_PER_QUERY = 500;
/** About 30 MB. It is reached only while the projection does not advance. */
const MAX_CHANGES = 100_000;
/**
 * So long a request waits for its key to be looked up, which takes longer only while something is
 * behind.
 */
const MAX_WAIT_MS = 5_000;
/** With so many it is looked whether the tables hold them by now. */
const PRUNE_AT_CHANGES = 5_000;

type Found = KeyHolder | undefined;

/** A key with the row that was read of it, at a position. */
interface ReadKey extends KeyLookup {
  readonly row: KeyRow;
  readonly position: Position;
}

/**
 * Keys by id, for authentication: what the tables of `tenancy` hold, and what the log has told
 * since, in memory. So a key counts from the moment at which its event is in the log, and no longer
 * than until its revocation is, also while the projection is paused, stopped or far behind.
 *
 * What this process appends evicts a key before the append is answered, and what others append when
 * it is heard of. A cached key is answered only if the log has been heard up to its head within the
 * last second: a process that cannot reach the log refuses all keys rather than accept a revoked
 * one.
 */
export class KeyDirectory {
  readonly #queries: KeyQueries;
  readonly #store: EventStore;
  readonly #follower: LogFollower;
  readonly #changes: KeyChanges;
  readonly #lookups = new Batched<string, Found>(MAX_KEYS_PER_QUERY, (ids) => this.#lookUp(ids));
  readonly #known = new LRUCache<string, KeyHolder>({
    max: MAX_CACHED_KEYS,
    noDisposeOnSet: true,
    dispose: (found) => this.#forget(found),
  });
  readonly #unknown = new LRUCache<string, true>({ max: MAX_CACHED_UNKNOWN_IDS });
  /**
   * The ids of the cached keys by holder, so that a change evicts those of one holder and looks at
   * no others.
   */
  readonly #keyIds = new Map<string, Set<string>>();
  /** What this process appended and has not yet read in the log, by subject. */
  readonly #unheard = new Map<string, Position>();
  #pruning: Promise<unknown> | undefined;

  constructor(queries: KeyQueries, store: EventStore, maxChanges = MAX_CHANGES) {
    this.#queries = queries;
    this.#store = store;
    this.#follower = new LogFollower(store, KEY_CHANGES);
    this.#changes = new KeyChanges(BEGINNING, maxChanges);
  }

  /**
   * The key of this id; undefined where there is none.
   * @throws LedgerError `store-unavailable`; `read-model-behind` while there are no tables yet, or
   *   they lack more than is remembered
   */
  async find(keyId: string): Promise<Found> {
    if (!this.#follower.isConfirmed) await this.#follower.confirmed();
    const cached = this.#known.get(keyId);
    if (cached !== undefined) return cached;
    if (this.#unknown.get(keyId) === true) return undefined;
    return within(MAX_WAIT_MS, this.#lookups.load(keyId));
  }

  /** Whether `find` gives this key without a query. */
  holds(keyId: string): boolean {
    return this.#known.has(keyId);
  }

  /**
   * Follows the log from where the tables stand, until aborted. Resolved when the head is reached,
   * or after some seconds: until it is, no key is accepted. `ended` rejects when it can follow no
   * longer.
   */
  async follow(signal: AbortSignal): Promise<{ readonly ended: Promise<void> }> {
    const after = await this.#checkpoint();
    this.#changes.forgetUpTo(after);
    const ended = this.#follower.follow(after, signal, (events, position) => {
      for (const recorded of events) this.#hear(keyChange(recorded, recorded.position));
      for (const [subject, appended] of this.#unheard) {
        if (appended <= position) this.#unheard.delete(subject);
      }
    });
    await Promise.race([ended, this.#follower.reachedHead().catch(() => undefined)]);
    return { ended };
  }

  /** What this process appended: it counts from now on, and is waited for where it is looked up. */
  appended({ stream, events }: Write, position: Position): void {
    for (const event of events) {
      if (!isKeyChange(event.type)) continue;
      const change = keyChange({ ...event, stream }, position);
      // A log may give an event to its followers before it answers the append.
      if (position > this.#follower.position) this.#unheard.set(subjectOf(change), position);
      this.#evict(change);
    }
  }

  #hear(change: KeyChange): void {
    this.#changes.add(change);
    this.#evict(change);
    if (this.#changes.count <= PRUNE_AT_CHANGES || this.#pruning !== undefined) return;
    this.#pruning = this.#checkpoint()
      .then((position) => this.#changes.forgetUpTo(position))
      // The tables are unavailable or not built yet: what is remembered stays.
      .catch(() => undefined)
      .finally(() => {
        this.#pruning = undefined;
      });
  }

  /** Where the tables stand; the head of the log while there are none. */
  async #checkpoint(): Promise<Position> {
    try {
      return (await this.#queries.keyRows([])).position;
    } catch (error) {
      if (!isBehind(error)) throw error;
      return this.#store.head();
    }
  }

  async #lookUp(keyIds: readonly string[]): Promise<Map<string, Found>> {
    const found = new Map<string, Found>();
    let lookups = keyIds.map((keyId): KeyLookup => ({ keyId, address: this.#addressOf(keyId) }));
    while (lookups.length > 0) {
      const { value: rows, position } = await this.#queries.keyRows(lookups);
      await this.#rememberSince(position);
      const read = lookups.map((lookup, index): ReadKey => {
        const row = rows[index];
        if (row === undefined) throw new Error('a key was looked up, and no row came back');
        return { ...lookup, row, position };
      });
      // An id that is not known may have been issued by another process a moment ago.
      if (read.some((one) => this.#keyOf(one) === undefined)) await this.#follower.reachedHead();
      const again: KeyLookup[] = [];
      for (const one of read) {
        const resolved = await this.#resolve(one);
        if ('lookUp' in resolved) again.push(resolved.lookUp);
        else found.set(one.keyId, resolved.found);
      }
      this.#changes.forgetUpTo(position);
      lookups = again;
    }
    return found;
  }

  /** What is true of the key at the follower's position; or how it is to be looked up again. */
  async #resolve(
    read: ReadKey,
  ): Promise<{ readonly found: Found } | { readonly lookUp: KeyLookup }> {
    const { keyId, row, position } = read;
    for (;;) {
      const key = this.#keyOf(read);
      const unheard = this.#unheardOf(key === undefined ? [keySubject(keyId)] : subjectsOf(key));
      if (unheard !== undefined) {
        await this.#follower.reached(unheard);
        continue;
      }
      // From here on nothing is waited for, so no change can come before the key is in the cache.
      if (this.#changes.since > position) return { lookUp: read };
      if (key === undefined) {
        this.#unknown.set(keyId, true);
        return { found: undefined };
      }
      // The row is of another holder than the one that the key has by now.
      if (!isSameAddress(key, read.address ?? row.key)) return { lookUp: { keyId, address: key } };
      const status = changedStatus(row.status, this.#changes.after(position, holderSubject(key)));
      const holder = { ...key, ...status };
      this.#remember(holder);
      return { found: holder };
    }
  }

  #keyOf({ keyId, row, position }: ReadKey): KeyRow['key'] {
    return changedKey(row.key, this.#changes.after(position, keySubject(keyId)));
  }

  /**
   * The newest position that this process appended about one of these, if it has not been read yet.
   */
  #unheardOf(subjects: readonly string[]): Position | undefined {
    const positions = subjects.flatMap((subject) => this.#unheard.get(subject) ?? []);
    return positions.toSorted((a, b) => (a < b ? -1 : Number(a > b))).at(-1);
  }

  /** Who holds a key, as far as changes tell that the tables may not hold yet. */
  #addressOf(keyId: string): KeyAddress | undefined {
    return changedKey(undefined, this.#changes.after(BEGINNING, keySubject(keyId)));
  }

  /**
   * The tables may stand before everything that is remembered: others answer, or there were none.
   */
  async #rememberSince(position: Position): Promise<void> {
    while (position < this.#changes.since) {
      if (this.#changes.isOverfull) throw tooFarBehind();
      const until = this.#changes.since;
      const older: KeyChange[] = [];
      const reading = { after: position, until, types: KEY_CHANGES };
      for await (const { events } of this.#store.readAll(reading)) {
        for (const recorded of events) older.push(keyChange(recorded, recorded.position));
        if (older.length > MAX_CHANGES) break;
      }
      if (this.#changes.since === until) this.#changes.prepend(older, position);
    }
  }

  #evict(change: KeyChange): void {
    const subject = subjectOf(change);
    for (const keyId of this.#keyIds.get(subject) ?? []) this.#known.delete(keyId);
    const { event } = change;
    if (event.type !== 'KeyIssued' && event.type !== 'KeyRevoked') return;
    this.#known.delete(event.data.keyId);
    this.#unknown.delete(event.data.keyId);
  }

  #remember(found: KeyHolder): void {
    const holder = holderSubject(found);
    const keyIds = this.#keyIds.get(holder) ?? new Set();
    this.#keyIds.set(holder, keyIds.add(found.keyId));
    this.#known.set(found.keyId, found);
  }

  #forget(found: KeyHolder): void {
    const holder = holderSubject(found);
    const keyIds = this.#keyIds.get(holder);
    keyIds?.delete(found.keyId);
    if (keyIds?.size === 0) this.#keyIds.delete(holder);
  }
}

function subjectsOf(key: KeyAddress & { readonly keyId: string }): string[] {
  return [keySubject(key.keyId), holderSubject(key)];
}

function isSameAddress(a: KeyAddress, b: KeyAddress | undefined): boolean {
  return b !== undefined && holderSubject(a) === holderSubject(b);
}

async function within<Value>(ms: number, value: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(tooFarBehind()), ms);
  });
  return Promise.race([value, late]).finally(() => clearTimeout(timer));
}

function isBehind(error: unknown): boolean {
  return error instanceof LedgerError && error.code === 'read-model-behind';
}

function tooFarBehind(): LedgerError {
  return new LedgerError(
    'read-model-behind',
    "The key cannot be checked, because the read model 'tenancy' is behind: retry in a moment.",
  );
}
