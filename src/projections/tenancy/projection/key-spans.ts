import type { Queryable } from '../../../database/database.ts';
import { insertRows, rowsAs } from '../../../database/rows.ts';
import { sql } from '../../../database/sql.ts';
import type { KeyEvent, KeyKind } from '../../../events/tenancy.ts';
import type { RecordedEvent } from '../../../event-store/port.ts';
import { tenancy } from '../tables.ts';

export interface AppliedToKey {
  readonly projectId: string;
  readonly recorded: RecordedEvent;
  readonly event: KeyEvent;
}

/** A key in one project, from one position up to another, which is null for the current span. */
interface KeySpan {
  readonly keyId: string;
  readonly projectId: string;
  readonly kind: KeyKind;
  readonly holder: string;
  readonly secretHash: string;
  readonly issuedAt: Date | string;
  readonly position: bigint;
  toPosition: bigint | null;
  revokedAt: Date | null;
  revokedPosition: bigint | null;
}

/**
 * Issues and revokes keys, event by event. A device that is transferred keeps its keys, so a key
 * may be issued again in another project: the span in the one that it leaves ends there.
 */
export async function changeKeys(applied: readonly AppliedToKey[], tx: Queryable): Promise<void> {
  if (applied.length === 0) return;
  const current = await loadKeys([...new Set(applied.map(({ event }) => event.data.keyId))], tx);
  const spans = new Set(current.values());
  for (const change of applied) {
    const { keyId } = change.event.data;
    const next = nextSpan(change, current.get(keyId));
    if (next === undefined) continue;
    current.set(keyId, next);
    spans.add(next);
  }
  await saveKeys([...spans], tx);
}

/** The span that an event begins; undefined when it begins none. */
function nextSpan(
  { projectId, recorded, event }: AppliedToKey,
  before: KeySpan | undefined,
): KeySpan | undefined {
  const { position } = recorded;
  if (event.type === 'KeyRevoked') {
    if (before === undefined || before.revokedAt !== null) return undefined;
    before.revokedAt = recorded.recordedAt;
    before.revokedPosition = position;
    return undefined;
  }
  const { keyId, kind, holder, secretHash, issuedAt } = event.data;
  if (before === undefined) {
    const isNew = { toPosition: null, revokedAt: null, revokedPosition: null };
    return { keyId, projectId, kind, holder, secretHash, issuedAt, position, ...isNew };
  }
  // A key with another secret does not take over the id of a key.
  if (before.secretHash !== secretHash) return undefined;
  before.toPosition = position;
  return { ...before, projectId, holder, position, toPosition: null };
}

async function loadKeys(keyIds: readonly string[], tx: Queryable): Promise<Map<string, KeySpan>> {
  const spans = await tx.query<KeySpan>(sql`
    select
      k.key_id as "keyId",
      k.project_id as "projectId",
      k.kind,
      k.holder,
      k.secret_hash as "secretHash",
      k.issued_at as "issuedAt",
      k.position,
      k.to_position as "toPosition",
      k.revoked_at as "revokedAt",
      k.revoked_position as "revokedPosition"
    from ${rowsAs('wanted', { key_id: ['text', (keyId) => keyId] }, keyIds)}
    join ${tenancy.keys} k using (key_id)
    where k.to_position is null`);
  return new Map(spans.map((span) => [span.keyId, span]));
}

async function saveKeys(spans: readonly KeySpan[], tx: Queryable): Promise<void> {
  if (spans.length === 0) return;
  const inserted = insertRows(
    tenancy.keys,
    {
      key_id: ['text', (span) => span.keyId],
      position: ['bigint', (span) => span.position],
      to_position: ['bigint', (span) => span.toPosition],
      project_id: ['text', (span) => span.projectId],
      kind: ['text', (span) => span.kind],
      holder: ['text', (span) => span.holder],
      secret_hash: ['text', (span) => span.secretHash],
      issued_at: ['timestamptz', (span) => span.issuedAt],
      revoked_at: ['timestamptz', (span) => span.revokedAt],
      revoked_position: ['bigint', (span) => span.revokedPosition],
    },
    spans,
  );
  await tx.query(sql`
    ${inserted}
    on conflict (key_id, position) do update
    set to_position = excluded.to_position,
        revoked_at = excluded.revoked_at,
        revoked_position = excluded.revoked_position`);
}
