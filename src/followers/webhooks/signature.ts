import { createHmac } from 'node:crypto';

/** How every secret of a webhook begins; what follows is the key of the HMAC in base64. */
const SECRET_PREFIX = 'whsec_';

export interface SignedMessage {
  /** `webhook-id`: the same whenever the same message is sent again. */
  readonly id: string;
  /** `webhook-timestamp`: when this attempt is sent, in epoch seconds. */
  readonly timestamp: number;
  readonly body: string;
}

/**
 * The headers of Standard Webhooks 1.0.0 (https://www.standardwebhooks.com), symmetric scheme `v1`.
 * With several secrets there is a signature of each, so that a receiver accepts either while they
 * rotate.
 */
export function signedHeaders(
  secrets: readonly string[],
  { id, timestamp, body }: SignedMessage,
): Readonly<Record<string, string>> {
  const signatures = secrets.map((secret) => {
    const key = Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64');
    const signed = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`);
    return `v1,${signed.digest('base64')}`;
  });
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signatures.join(' '),
  };
}
