import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { LedgerError } from '../shared/errors.ts';

export interface RateLimitSettings {
  /** Requests of one key in a second. */
  readonly perKey: number;
  /** Requests of one address in a minute whose key is missing or not valid. */
  readonly failuresPerAddress: number;
}

const KEY_WINDOW_SECONDS = 1;
const FAILURE_WINDOW_SECONDS = 60;

/** `RateLimit-Policy` and `RateLimit`, as draft-ietf-httpapi-ratelimit-headers-10 has them. */
export type RateLimitHeaders = Readonly<Record<string, string>>;

/**
 * How much a key, and an address without one, may ask of this process. Windows are fixed and in
 * memory: each process counts for itself.
 */
export class RateLimits {
  readonly #requests: RateLimiterMemory;
  readonly #failures: RateLimiterMemory;

  constructor({ perKey, failuresPerAddress }: RateLimitSettings) {
    this.#requests = new RateLimiterMemory({ points: perKey, duration: KEY_WINDOW_SECONDS });
    this.#failures = new RateLimiterMemory({
      points: failuresPerAddress,
      duration: FAILURE_WINDOW_SECONDS,
    });
  }

  /**
   * Counts a request of a key, and gives the headers that say what is left to it.
   * @throws LedgerError `too-many-requests`
   */
  async countRequest(keyId: string): Promise<RateLimitHeaders> {
    const { points } = this.#requests;
    const state = await this.#requests.consume(keyId).catch(refusalOf);
    const left = { policy: 'key', quota: points, windowSeconds: KEY_WINDOW_SECONDS, state };
    if (state.consumedPoints <= points) return headersOf(left);
    throw tooMany(left, `This key may send ${points} requests per second: send fewer.`);
  }

  /**
   * @throws LedgerError `too-many-requests` when too many requests of the address had no valid key
   */
  async checkFailures(address: string): Promise<void> {
    const state = await this.#failures.get(networkOf(address));
    if (state === null || state.msBeforeNext <= 0 || state.remainingPoints > 0) return;
    throw tooMany(
      {
        policy: 'failed-authentication',
        quota: this.#failures.points,
        windowSeconds: FAILURE_WINDOW_SECONDS,
        state,
      },
      'Too many requests from this address had no valid key: check the key, then try again later.',
    );
  }

  async countFailure(address: string): Promise<void> {
    await this.#failures.penalty(networkOf(address));
  }
}

/**
 * Who counts as one client: an IPv6 address with all others of its /64, since one subscriber
 * usually has all of them; an IPv4 address alone, also where it is written as IPv6.
 */
export function networkOf(address: string): string {
  const ipv4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (ipv4 !== undefined || !address.includes(':')) return ipv4 ?? address;
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::');
  const first = head === '' ? [] : head.split(':');
  const last = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - first.length - last.length;
  const groups = [...first, ...Array.from({ length: zeros }, () => '0'), ...last];
  return `${groups.slice(0, 4).join(':')}::/64`;
}

/** A refusal that says when to come back. */
export class TooManyRequests extends LedgerError {
  readonly headers: RateLimitHeaders;

  constructor(detail: string, headers: RateLimitHeaders) {
    super('too-many-requests', detail);
    this.headers = headers;
  }
}

interface Left {
  readonly policy: string;
  readonly quota: number;
  readonly windowSeconds: number;
  readonly state: RateLimiterRes;
}

function headersOf({ policy, quota, windowSeconds, state }: Left): RateLimitHeaders {
  return {
    'RateLimit-Policy': `"${policy}";q=${quota};w=${windowSeconds}`,
    RateLimit: `"${policy}";r=${state.remainingPoints};t=${secondsLeft(state)}`,
  };
}

function tooMany(left: Left, detail: string): TooManyRequests {
  const headers = { ...headersOf(left), 'Retry-After': String(secondsLeft(left.state)) };
  return new TooManyRequests(detail, headers);
}

function secondsLeft({ msBeforeNext }: RateLimiterRes): number {
  return Math.max(1, Math.ceil(msBeforeNext / 1_000));
}

/** What the library rejects with when a limit is exceeded is no error. */
function refusalOf(reason: unknown): RateLimiterRes {
  if (reason instanceof RateLimiterRes) return reason;
  throw reason;
}
