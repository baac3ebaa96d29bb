import { LRUCache } from 'lru-cache';
import { BEGINNING, type EventStore, type Position, type Write } from '../../event-store/port.ts';
import { parseStreamName } from '../../event-store/stream-name.ts';
import { domainEvent } from '../../events/registry.ts';
import type { DeviceEvent, KeyEvent, ProjectEvent } from '../../events/tenancy.ts';
import type { KeyHolder, TenancyQueries } from './tenancy-queries.ts';

const MAX_CACHED_KEYS = 50_000;
/** Only what changes while a key is being read counts: far fewer than this. */
const MAX_REMEMBERED_CHANGES = 10_000;

/** The events after which a key may be worth less, or other, than it was. */
const CHANGES = [
  'KeyRevoked',
  'MemberRemoved',
  'DeviceChanged',
  'DeviceRetired',
  'DeviceTransferStarted',
  'DeviceTransferred',
] as const;

type Change = Extract<KeyEvent | ProjectEvent | DeviceEvent, { type: (typeof CHANGES)[number] }>;

/**
 * Keys by id, from a cache that never outlives a change: what this process appends evicts at once,
 * before the append is answered, and what others append as soon as it is heard of. So a revoked key
 * is refused from the next request on, and a request costs no query.
 */
export class KeyDirectory {
  readonly #queries: TenancyQueries;
  readonly #store: EventStore;
  readonly #cache = new LRUCache<string, KeyHolder>({
    max: MAX_CACHED_KEYS,
    noDisposeOnSet: true,
    dispose: (found) => this.#forget(found),
  });
  /** The ids of the cached keys, by holder: a change evicts those of one holder, and looks at no others. */
  readonly #keyIds = new Map<string, Set<string>>();
  /** By holder, the number of its last change. */
  readonly #changeOf = new LRUCache<string, number>({ max: MAX_REMEMBERED_CHANGES });
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
      // A change of this holder during the reading: what was read may be what it changed.
      const { projectId, holder } = found;
      if (this.#isChangedSince(changes, holderName(projectId, holder))) continue;
      if (this.#isChangedSince(changes, keyName(keyId))) continue;
      this.#remember(found);
      return found;
    }
  }

  /**
   * Listens to what other processes append, until aborted. Resolved once it is known from where on:
   * a key that is cached later misses no change. `ended` rejects when it can listen no longer.
   */
  async follow(signal: AbortSignal): Promise<{ readonly ended: Promise<void> }> {
    const after = await this.#store.head();
    return { ended: this.#listen(after, signal) };
  }

  async #listen(after: Position, signal: AbortSignal): Promise<void> {
    for await (const { events } of this.#store.subscribe({ after, types: CHANGES, signal })) {
      for (const recorded of events) {
        this.#evict(recorded.stream, domainEvent(recorded) as Change, recorded.position);
      }
    }
  }

  /** What this process appended. */
  appended({ stream, events }: Write, position: Position): void {
    for (const event of events) {
      if (CHANGES.includes(event.type as Change['type']))
        this.#evict(stream, domainEvent(event) as Change, position);
    }
  }

  #evict(stream: string, change: Change, position: Position): void {
    const parsed = parseStreamName(stream);
    if (parsed === undefined) return;
    const holder = holderName(parsed.projectId, holderOf(change));
    this.#changes += 1;
    this.#changeOf.set(holder, this.#changes);
    if (position > this.#changedAt) this.#changedAt = position;
    for (const keyId of this.#keyIds.get(holder) ?? []) this.#cache.delete(keyId);
    if (change.type !== 'KeyRevoked') return;
    // It may be cached as that of the same device in another project, from which it comes.
    const { keyId } = change.data;
    this.#changeOf.set(keyName(keyId), this.#changes);
    this.#cache.delete(keyId);
  }

  #isChangedSince(changes: number, holder: string): boolean {
    // So many changes that the holder's own may have been forgotten.
    if (this.#changes - changes >= MAX_REMEMBERED_CHANGES) return true;
    return (this.#changeOf.peek(holder) ?? 0) > changes;
  }

  #remember(found: KeyHolder): void {
    const holder = holderName(found.projectId, found.holder);
    const keyIds = this.#keyIds.get(holder) ?? new Set();
    this.#keyIds.set(holder, keyIds.add(found.keyId));
    this.#cache.set(found.keyId, found);
  }

  #forget({ keyId, projectId, holder }: KeyHolder): void {
    const name = holderName(projectId, holder);
    const keyIds = this.#keyIds.get(name);
    keyIds?.delete(keyId);
    if (keyIds?.size === 0) this.#keyIds.delete(name);
  }
}

/** Whose keys it changes. */
function holderOf({ type, data }: Change): string {
  switch (type) {
    case 'KeyRevoked':
      return data.holder;
    case 'MemberRemoved':
      return data.memberId;
    case 'DeviceChanged':
    case 'DeviceRetired':
    case 'DeviceTransferStarted':
    case 'DeviceTransferred':
      return data.deviceId;
  }
}

function keyName(keyId: string): string {
  return JSON.stringify([keyId]);
}

function holderName(projectId: string, holder: string): string {
  return JSON.stringify([projectId, holder]);
}
