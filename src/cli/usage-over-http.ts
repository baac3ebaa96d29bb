import { randomUUID } from 'node:crypto';
import pRetry, { AbortError } from 'p-retry';
import type { UsageSink } from './usage-traffic.ts';

/** The service did not accept what was sent, for a reason that the user can fix. */
export class UsageNotSentError extends Error {
  override readonly name = 'UsageNotSentError';
}

const RETRIES = 8;
const TIMEOUT_MS = 60_000;

/** Records for `POST /usage` of a service. */
export function openHttpUsage(url: string, key: string): UsageSink {
  const address = new URL('/api/v1/usage', url);
  return {
    async send(bodies) {
      // The records have no ids, and are known by it when they are sent again.
      const idempotencyKey = randomUUID();
      const body = `${bodies.join('\n')}\n`;
      await pRetry(() => post(address, key, idempotencyKey, body), {
        retries: RETRIES,
        minTimeout: 250,
        maxTimeout: 5_000,
      });
    },
    close: () => Promise.resolve(),
  };
}

async function post(
  address: URL,
  key: string,
  idempotencyKey: string,
  body: string,
): Promise<void> {
  const response = await fetch(address, {
    method: 'POST',
    headers: {
      Authorization: `Bearer ${key}`,
      'Content-Type': 'application/x-ndjson',
      'Idempotency-Key': idempotencyKey,
    },
    body,
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const text = await response.text();
  if (response.status === 202) return;
  const error = new UsageNotSentError(`${address.href} answers ${response.status}: ${text.trim()}`);
  throw response.status >= 500 ? error : new AbortError(error);
}
