import { LRUCache } from 'lru-cache';
import { BEGINNING, type EventStore, type Position, type Write } from '../../event-store/port.ts';
import { parseStreamName } from '../../event-store/stream-name.ts';
import type { KeyHolder, TenancyQueries } from './tenancy-queries.ts';

const MAX_CACHED_KEYS = 50_000;

/** The events after which a key may be worth less, or other, than it was. */
const CHANGES = ['KeyRevoked', 'MemberRemoved', 'DeviceChanged', 'DeviceRetired'];

/**
 * Keys by id, from a cache that never outlives a change: what this process appends evicts at once,
 * before the append is answered, and what others append as soon as it is heard of. So a revoked key
 * is refused from the next request on, and a request costs no query.
 */
export class KeyDirectory {
  readonly #queries: TenancyQueries;
  readonly #store: EventStore;
  readonly #cache = new LRUCache<string, KeyHolder>({ max: MAX_CACHED_KEYS });
  /** The newest change heard of: what is read must not be older. */
  #changedAt: Position = BEGINNING;
  #changes = 0;

  constructor(queries: TenancyQueries, store: EventStore) {
    this.#queries = queries;
    this.#store = store;
  }

  async find(keyId: string): Promise<KeyHolder | undefined> {
    const cached = this.#cache.get(keyId);
    if (cached !== undefined) return cached;
    for (;;) {
      const changes = this.#changes;
      const found =
        (await this.#queries.keyHolder(keyId, { minPosition: this.#changedAt })) ??
        // It may have been issued a moment ago by another process, which this one has not heard of.
        (await this.#queries.keyHolder(keyId, { minPosition: await this.#store.head() }));
      if (found === undefined) return undefined;
      // A change during the reading: what was read may be what it changed.
      if (changes !== this.#changes) continue;
      this.#cache.set(keyId, found);
      return found;
    }
  }

  /** Listens to what other processes append, until aborted. */
  async follow(signal: AbortSignal): Promise<void> {
    const after = await this.#store.head();
    for await (const { events } of this.#store.subscribe({ after, types: CHANGES, signal })) {
      for (const event of events) {
        this.#evict(event.stream, event.data['holder'] ?? event.data['memberId'], event.position);
      }
    }
  }

  /** What this process appended. */
  appended({ stream, events }: Write, position: Position): void {
    for (const { type, data } of events) {
      if (CHANGES.includes(type)) this.#evict(stream, data['holder'] ?? data['memberId'], position);
    }
  }

  #evict(stream: string, holderInEvent: unknown, position: Position): void {
    const parsed = parseStreamName(stream);
    if (parsed === undefined) return;
    const holder = typeof holderInEvent === 'string' ? holderInEvent : parsed.id;
    this.#changes += 1;
    if (position > this.#changedAt) this.#changedAt = position;
    for (const [keyId, cached] of this.#cache.entries()) {
      if (cached.projectId === parsed.projectId && cached.holder === holder)
        this.#cache.delete(keyId);
    }
  }
}
