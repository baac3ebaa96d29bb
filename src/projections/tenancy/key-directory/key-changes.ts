import type { Position, RecordedEvent } from '../../../event-store/port.ts';
import { parseStreamName } from '../../../event-store/stream-name.ts';
import { domainEvent } from '../../../events/registry.ts';
import type { DeviceEvent, KeyEvent, ProjectEvent } from '../../../events/tenancy.ts';
import type { HolderStatus, IssuedKey, KeyAddress, KeyRow } from '../queries/key-holders.ts';

/** The events after which a key may be accepted otherwise than before. */
export const KEY_CHANGES = [
  'KeyIssued',
  'KeyRevoked',
  'MemberAdded',
  'MemberRemoved',
  'DeviceRegistered',
  'DeviceChanged',
  'DeviceRetired',
  'DeviceTransferred',
] as const;

export type KeyChangeEvent = Extract<
  KeyEvent | ProjectEvent | DeviceEvent,
  { type: (typeof KEY_CHANGES)[number] }
>;

export interface KeyChange {
  readonly position: Position;
  readonly projectId: string;
  readonly event: KeyChangeEvent;
}

export function isKeyChange(type: string): type is KeyChangeEvent['type'] {
  return (KEY_CHANGES as readonly string[]).includes(type);
}

export function keyChange(
  recorded: Pick<RecordedEvent, 'stream' | 'type' | 'data' | 'metadata'>,
  position: Position,
): KeyChange {
  const projectId = parseStreamName(recorded.stream)?.projectId ?? '';
  return { position, projectId, event: domainEvent(recorded) as KeyChangeEvent };
}

/** Names what an event changes: one key, or the holder of some. */
export function subjectOf({ projectId, event }: Omit<KeyChange, 'position'>): string {
  switch (event.type) {
    case 'KeyIssued':
    case 'KeyRevoked':
      return keySubject(event.data.keyId);
    case 'MemberAdded':
    case 'MemberRemoved':
      return holderSubject({ kind: 'mem', projectId, holder: event.data.memberId });
    case 'DeviceRegistered':
    case 'DeviceChanged':
    case 'DeviceRetired':
    case 'DeviceTransferred':
      return holderSubject({ kind: 'dev', projectId, holder: event.data.deviceId });
  }
}

/**
 * A key has one name, whatever project it is in: a device takes it along when it is transferred.
 */
export function keySubject(keyId: string): string {
  return JSON.stringify([keyId]);
}

export function holderSubject({ kind, projectId, holder }: KeyAddress): string {
  return JSON.stringify([kind, projectId, holder]);
}

/**
 * The changes after a position of the log, by what they change: added to what the tables held at
 * that position or later, they give what is true where the reading of the log stands.
 */
export class KeyChanges {
  readonly #maxChanges: number;
  #all: KeyChange[] = [];
  #bySubject = new Map<string, KeyChange[]>();
  #since: Position;
  #isOverfull = false;

  constructor(since: Position, maxChanges: number) {
    this.#since = since;
    this.#maxChanges = maxChanges;
  }

  /** Every change after this position is remembered. */
  get since(): Position {
    return this.#since;
  }

  get count(): number {
    return this.#all.length;
  }

  /** Whether more has come than is remembered, which the tables may not hold yet. */
  get isOverfull(): boolean {
    return this.#isOverfull;
  }

  add(change: KeyChange): void {
    this.#all.push(change);
    this.#index(change);
    if (this.#all.length <= this.#maxChanges) return;
    // Many at once, since each time moves all that are left.
    const oldest = this.#all[Math.floor(this.#maxChanges / 10)];
    if (oldest !== undefined) this.forgetUpTo(oldest.position);
    this.#isOverfull = true;
  }

  /**
   * Puts what the log holds between `after` and `since` before the others, if it is not too much.
   */
  prepend(older: readonly KeyChange[], after: Position): void {
    if (this.#all.length + older.length > this.#maxChanges) {
      this.#isOverfull = true;
      return;
    }
    this.#all = [...older, ...this.#all];
    this.#since = after;
    this.#bySubject = new Map();
    for (const change of this.#all) this.#index(change);
  }

  /** The tables hold everything up to this position. */
  forgetUpTo(position: Position): void {
    if (position < this.#since) return;
    this.#isOverfull = false;
    this.#since = position;
    const first = this.#all.findIndex((change) => change.position > position);
    const forgotten = this.#all.splice(0, first === -1 ? this.#all.length : first);
    for (const subject of new Set(forgotten.map(subjectOf))) {
      const left = this.after(position, subject);
      if (left.length === 0) this.#bySubject.delete(subject);
      else this.#bySubject.set(subject, left);
    }
  }

  after(position: Position, subject: string): KeyChange[] {
    return (this.#bySubject.get(subject) ?? []).filter((change) => change.position > position);
  }

  #index(change: KeyChange): void {
    const subject = subjectOf(change);
    const others = this.#bySubject.get(subject);
    if (others === undefined) this.#bySubject.set(subject, [change]);
    else others.push(change);
  }
}

/** The key as the tables have it, after these changes of it. */
export function changedKey(
  key: IssuedKey | undefined,
  changes: readonly KeyChange[],
): IssuedKey | undefined {
  return changes.reduce((before: IssuedKey | undefined, { projectId, event }) => {
    if (event.type === 'KeyRevoked') return before && { ...before, isRevoked: true };
    if (event.type !== 'KeyIssued') return before;
    const { keyId, kind, holder, secretHash } = event.data;
    if (before === undefined)
      return { keyId, kind, projectId, holder, secretHash, isRevoked: false };
    // It came along with its device; a key with another secret takes no other's id.
    return before.secretHash === secretHash ? { ...before, projectId, holder } : before;
  }, key);
}

/** The holder as the tables have it, after these changes of it. */
export function changedStatus(
  status: KeyRow['status'],
  changes: readonly KeyChange[],
): HolderStatus {
  return changes.reduce((before, { event }) => {
    switch (event.type) {
      case 'MemberAdded':
        return { ...before, role: event.data.role };
      case 'MemberRemoved':
        return { ...before, role: null };
      case 'DeviceRegistered':
        return { ...before, isActiveDevice: true, sensorId: event.data.sensorId };
      case 'DeviceChanged':
        return { ...before, sensorId: event.data.sensorId };
      case 'DeviceRetired':
      case 'DeviceTransferred':
        return { ...before, isActiveDevice: false };
      case 'KeyIssued':
      case 'KeyRevoked':
        return before;
    }
  }, status);
}
