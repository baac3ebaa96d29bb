import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { isSecretOf, parseApiKey, type ApiKey } from '../commands/tenancy/api-keys.ts';
import { INSTALLATION_PROJECT } from '../event-store/stream-name.ts';
import type { KeyDirectory } from '../projections/tenancy/key-directory/key-directory.ts';
import type { KeyHolder } from '../projections/tenancy/queries/key-holders.ts';
import { LedgerError } from '../shared/errors.ts';
import type { RateLimits } from './rate-limits.ts';
import type { Access, Route } from './route.ts';

const HASH_OF_NO_SECRET = '0'.repeat(64);
/** What names the key that the operator set, which is in no log. */
const CONFIGURED_KEY_ID = 'configured';

/** Whose key a request carries. `keyId` is the `actor` of what it does. */
export type Caller =
  | { readonly kind: 'admin'; readonly keyId: string; readonly projectId: string }
  | {
      readonly kind: 'member';
      readonly keyId: string;
      readonly projectId: string;
      readonly memberId: string;
      readonly role: 'owner' | 'member' | 'viewer';
    }
  | {
      readonly kind: 'device';
      readonly keyId: string;
      readonly projectId: string;
      readonly deviceId: string;
      readonly sensorId: string | null;
    };

export class Authentication {
  readonly #directory: KeyDirectory;
  readonly #limits: RateLimits;
  readonly #configuredAdminKey: string | undefined;

  /** `configuredAdminKey`: the admin key that the operator set, of any form. */
  constructor(directory: KeyDirectory, limits: RateLimits, configuredAdminKey: string | undefined) {
    this.#directory = directory;
    this.#limits = limits;
    this.#configuredAdminKey = configuredAdminKey;
  }

  /**
   * `address`: where the request comes from. Once too many requests of it had no valid key, keys
   * are only compared with those in memory: strangers cost no query then, and clients behind the
   * same proxy, whose keys are in use, are not shut out with them.
   * @throws LedgerError `unauthenticated`, `too-many-requests`, `store-unavailable`,
   * `read-model-behind`
   */
  async authenticate(headers: IncomingHttpHeaders, address: string): Promise<Caller> {
    const text = keyText(headers) ?? '';
    if (this.#isConfiguredAdminKey(text)) {
      return { kind: 'admin', keyId: CONFIGURED_KEY_ID, projectId: INSTALLATION_PROJECT };
    }
    const key = parseApiKey(text);
    const isInMemory = key !== undefined && this.#directory.holds(key.id);
    if (!isInMemory) await this.#limits.checkFailures(address);
    const caller = key && (await this.#callerOf(key));
    if (caller !== undefined) return caller;
    await this.#limits.checkFailures(address);
    await this.#limits.countFailure(address);
    throw unauthenticated(
      text === ''
        ? 'No key was sent: send it as Authorization: Bearer fl_…, or in X-Device-Api-Key or ' +
            'X-Project-Membership-Api-Key.'
        : 'The key is malformed, unknown or revoked: send a valid one.',
    );
  }

  /**
   * Whether the key of a caller would be accepted now, for the same holder with the same rights:
   * for answers that take long.
   * @throws LedgerError `store-unavailable`, `read-model-behind`
   */
  async isStillValid(caller: Caller): Promise<boolean> {
    if (caller.keyId === CONFIGURED_KEY_ID) return true;
    const found = await this.#directory.find(caller.keyId);
    const now = found === undefined ? undefined : callerOf(found);
    return now !== undefined && isDeepStrictEqual(now, caller);
  }

  /** The length is no secret, and spares most requests the digests. */
  #isConfiguredAdminKey(text: string): boolean {
    const key = this.#configuredAdminKey;
    return text.length === key?.length && timingSafeEqual(digest(text), digest(key));
  }

  async #callerOf(key: ApiKey): Promise<Caller | undefined> {
    const found = await this.#directory.find(key.id);
    // Compared also where there is no such key, so that the time tells nothing of which ids exist.
    const isHolder = isSecretOf(key.secret, found?.secretHash ?? HASH_OF_NO_SECRET);
    if (!isHolder || found === undefined || found.kind !== key.kind) return undefined;
    return callerOf(found);
  }
}

/** Undefined for a key that is accepted no longer. */
function callerOf(found: KeyHolder): Caller | undefined {
  if (found.isRevoked) return undefined;
  const { keyId, projectId, holder, role, sensorId } = found;
  switch (found.kind) {
    case 'adm':
      return { kind: 'admin', keyId, projectId };
    case 'mem':
      return role === null
        ? undefined
        : { kind: 'member', keyId, projectId, memberId: holder, role };
    case 'dev':
      return found.isActiveDevice
        ? { kind: 'device', keyId, projectId, deviceId: holder, sensorId }
        : undefined;
  }
}

/** @throws LedgerError `forbidden` */
export function authorize(caller: Caller, { access }: Pick<Route, 'access'>): void {
  const held: Access = caller.kind === 'member' ? caller.role : caller.kind;
  if (access.includes(held)) return;
  throw new LedgerError(
    'forbidden',
    `A key of kind '${held}' may not do this: use one of kind ${access.join(' or ')}.`,
  );
}

/**
 * The key that a request holds. Proxies use `Authorization` for a login of their own, so another
 * scheme there does not hide a key in a header that is made for it.
 */
function keyText(headers: IncomingHttpHeaders): string | undefined {
  const [scheme = '', ...tokens] = (headers.authorization ?? '').trim().split(/\s+/);
  // A malformed key stays one: it is refused, and no other header stands in for it.
  if (scheme.toLowerCase() === 'bearer' && tokens.length > 0) return tokens.join(' ');
  return [headers['x-device-api-key'], headers['x-project-membership-api-key']]
    .flat()
    .map((text) => text?.trim())
    .find((text) => text !== undefined && text !== '');
}

function unauthenticated(detail: string): LedgerError {
  return new LedgerError('unauthenticated', detail);
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
