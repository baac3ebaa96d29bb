import { createHash, createHmac, randomBytes, randomFillSync } from 'node:crypto';
import { stringify, v5, v7 } from 'uuid';

/** What the id of a project must look like, and the rule in words. */
export const PROJECT_ID = /^[a-z0-9][a-z0-9-]{0,62}$/;
export const PROJECT_ID_RULE = 'must have 1 to 63 of a-z, 0-9 and -, and not begin with -';

/** A new event id: UUID version 7 (RFC 9562), so that the index on ids grows at its right edge. */
export function newEventId(): string {
  return v7({ random: randomOctets() });
}

// One call into the random source for many ids: a call for each was a quarter of an append's CPU.
const octets = Buffer.alloc(16 * 256);
let used = octets.length;

function randomOctets(): Uint8Array {
  if (used === octets.length) {
    randomFillSync(octets);
    used = 0;
  }
  used += 16;
  return octets.subarray(used - 16, used);
}

/** A UUID that names a text within a namespace. */
export function nameBasedId(namespace: string, name: string): string {
  return v5(name, namespace);
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/**
 * Where the random parts of a request (ids, secrets) come from: the same label gives the same bytes
 * again. For a request with an idempotency key it is derived from that, so that its repetition
 * names the same things and shows the same secrets to whoever knows the key, and to nobody else;
 * for any other, from a random seed.
 */
export type Entropy = (label: string, bytes: number) => Buffer;

export function randomEntropy(): Entropy {
  let derived: Entropy | undefined;
  return (label, bytes) => {
    derived ??= derivedEntropy(randomBytes(32), []);
    return derived(label, bytes);
  };
}

export function derivedEntropy(secret: Buffer, scope: readonly string[]): Entropy {
  return (label, bytes) =>
    createHmac('sha512', secret)
      .update(JSON.stringify([...scope, label]))
      .digest()
      .subarray(0, bytes);
}

/** 16 random bytes as a UUID of version 8, whose bits are the application's own (RFC 9562, 5.8). */
export function uuidOf(bytes: Buffer): string {
  const octets = Uint8Array.from(bytes);
  octets[6] = ((octets[6] ?? 0) & 0x0f) | 0x80;
  octets[8] = ((octets[8] ?? 0) & 0x3f) | 0x80;
  return stringify(octets);
}

const ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789';

/** 32 characters to choose from, so a byte gives 5 bits without bias; no look-alikes. */
export function shortId(entropy: Buffer): string {
  return Array.from(entropy, (byte) => ALPHABET[byte & 31]).join('');
}
