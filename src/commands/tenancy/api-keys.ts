import { timingSafeEqual } from 'node:crypto';
import type { KeyKind } from '../../events/tenancy.ts';
import { sha256, shortId, type Entropy } from '../../shared/ids.ts';
import type { NewKey } from './key-set.ts';

export type { KeyKind };

/**
 * An API key in text: `fl_<kind>_<id>_<secret>`. The id names it (in `/keys/{id}` and as the
 * `actor` of events); the secret has 160 bits, so a plain hash of it is safe to store.
 */
export interface ApiKey {
  readonly kind: KeyKind;
  readonly id: string;
  readonly secret: string;
}

const KEY_PATTERN = /^fl_(adm|mem|dev)_([A-Za-z0-9.~-]{1,64})_([A-Za-z0-9.~-]{8,128})$/;

export function parseApiKey(text: string): ApiKey | undefined {
  const match = KEY_PATTERN.exec(text);
  if (match === null) return undefined;
  const [, kind, id = '', secret = ''] = match;
  return { kind: kind as KeyKind, id, secret };
}

export function formatApiKey({ kind, id, secret }: ApiKey): string {
  return `fl_${kind}_${id}_${secret}`;
}

export interface MintedKey {
  readonly newKey: NewKey;
  /** What is shown, once. */
  readonly apiKey: ApiKey;
}

/** A new key. `label` tells apart the keys that one request mints. */
export function mintKey(kind: KeyKind, entropy: Entropy, now: Date, label = 'key'): MintedKey {
  const id = shortId(entropy(`${label}:id`, 12));
  const secret = mintSecret(entropy, label);
  return {
    newKey: { keyId: id, secretHash: sha256(secret), issuedAt: now.toISOString() },
    apiKey: { kind, id, secret },
  };
}

/** The secret of a key, the same again from the same entropy. */
export function mintSecret(entropy: Entropy, label: string): string {
  return shortId(entropy(`${label}:secret`, 32));
}

export function isSecretOf(secret: string, secretHash: string): boolean {
  const given = Buffer.from(sha256(secret), 'hex');
  const kept = Buffer.from(secretHash, 'hex');
  return given.length === kept.length && timingSafeEqual(given, kept);
}
