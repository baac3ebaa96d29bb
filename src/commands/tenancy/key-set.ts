import type { KeyEvent } from '../../events/tenancy.ts';
import { LedgerError } from '../../shared/errors.ts';

/** A key about to be issued: its id and the hash of its secret. The secret is shown, never kept. */
export interface NewKey {
  readonly keyId: string;
  readonly secretHash: string;
  readonly issuedAt: string;
}

interface Key extends Omit<NewKey, 'keyId'> {
  readonly holder: string;
  readonly isRevoked: boolean;
}
export type KeySet = Readonly<Record<string, Key>>;

export function keyIssued(
  kind: 'adm' | 'mem' | 'dev',
  holder: string,
  { keyId, secretHash, issuedAt }: NewKey,
): Extract<KeyEvent, { type: 'KeyIssued' }> {
  return { type: 'KeyIssued', data: { keyId, kind, holder, secretHash, issuedAt } };
}

/** A key that was issued is not issued again: that would also make a revoked one valid. */
export function issueKey(
  kind: 'adm' | 'mem' | 'dev',
  keys: KeySet,
  holder: string,
  key: NewKey,
): Extract<KeyEvent, { type: 'KeyIssued' }>[] {
  return own(keys, key.keyId) === undefined ? [keyIssued(kind, holder, key)] : [];
}

export function revokeKey(
  kind: 'adm' | 'mem' | 'dev',
  keys: KeySet,
  keyId: string,
): Extract<KeyEvent, { type: 'KeyRevoked' }>[] {
  const key = own(keys, keyId);
  if (key === undefined) throw notFound();
  return key.isRevoked ? [] : [{ type: 'KeyRevoked', data: { keyId, kind, holder: key.holder } }];
}

export function foldKey(
  keys: KeySet,
  event: Extract<KeyEvent, { type: 'KeyIssued' | 'KeyRevoked' }>,
): KeySet {
  const { keyId, holder } = event.data;
  if (event.type === 'KeyIssued') {
    const { secretHash, issuedAt } = event.data;
    return { ...keys, [keyId]: { holder, secretHash, issuedAt, isRevoked: false } };
  }
  const key = own(keys, keyId);
  return key === undefined ? keys : { ...keys, [keyId]: { ...key, isRevoked: true } };
}

export function sizeOfKeys({ keys }: { readonly keys: KeySet }): number {
  return 300 * Object.keys(keys).length;
}

// Ids come from clients: `constructor` is one, and not a member.
export function own<Value>(record: Readonly<Record<string, Value>>, id: string): Value | undefined {
  return Object.hasOwn(record, id) ? record[id] : undefined;
}

/** The same words for what is missing and for what is another project's. */
export function notFound(): LedgerError {
  return new LedgerError('not-found', 'Nothing with this id was found: check the id.');
}
