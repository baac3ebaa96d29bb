import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { describe, expect, test } from 'vitest';
import { signedHeaders } from '../../../src/followers/webhooks/signature.ts';

describe('signatures by Standard Webhooks', () => {
  test('the published test vector passes', () => {
    const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
    const message = {
      id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      timestamp: 1_614_265_330,
      body: '{"test": 2432232314}',
    };
    expect(signedHeaders([secret], message)).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
  });

  const secrets = fc
    .uint8Array({ minLength: 24, maxLength: 64 })
    .map((key) => `whsec_${Buffer.from(key).toString('base64')}`);

  test('the standardwebhooks package accepts either secret of a rotation', () => {
    const timestamp = Math.floor(Date.now() / 1_000);
    fc.assert(
      fc.property(secrets, secrets, fc.json(), fc.uuid(), (newest, previous, body, id) => {
        const headers = { ...signedHeaders([newest, previous], { id, timestamp, body }) };
        expect(new Webhook(newest).verify(body, headers)).toEqual(JSON.parse(body));
        expect(new Webhook(previous).verify(body, headers)).toEqual(JSON.parse(body));
      }),
    );
  });

  test('the standardwebhooks package refuses another body, id or secret', () => {
    const timestamp = Math.floor(Date.now() / 1_000);
    const secret = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
    const headers = { ...signedHeaders([secret], { id: 'a', timestamp, body: '[]' }) };
    const other = new Webhook(`whsec_${Buffer.alloc(32, 2).toString('base64')}`);
    expect(() => new Webhook(secret).verify('[1]', headers)).toThrow();
    expect(() => new Webhook(secret).verify('[]', { ...headers, 'webhook-id': 'b' })).toThrow();
    expect(() => other.verify('[]', headers)).toThrow();
  });
});
