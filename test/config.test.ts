import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parseConfig, variablesOf } from '../src/config.ts';
import { connectionTo } from '../src/ingest/kafka/client.ts';

describe('a .env file', () => {
  test.each([
    ['A=abc#def', 'abc#def'],
    ['A=a#b', 'a#b'],
    ['A=abc # a comment', 'abc'],
    ['A=abc#def # a comment#', 'abc#def'],
    ["A=it's#1", "it's#1"],
    ['export A = abc#def', 'abc#def'],
    ['A="abc#def"', 'abc#def'],
    ["A='abc # def'", 'abc # def'],
    ['A="abc" # a "comment"', 'abc'],
    ['A=abc#def\r', 'abc#def'],
    ['A= # nothing', ''],
    ['# A=abc#def', undefined],
  ])('gives of %j the value %j', (line, value) => {
    expect(variablesOf(`FIRST=1\n${line}\nLAST=2\n`)).toEqual({
      FIRST: '1',
      LAST: '2',
      ...(value !== undefined && { A: value }),
    });
  });

  test('gives any unquoted value as it is written', () => {
    const value = fc
      .stringMatching(/^[A-Za-z0-9#$%&/:=?@_-]+$/)
      .filter((text) => !text.startsWith('#'));
    fc.assert(
      fc.property(value, (text) => {
        expect(variablesOf(`A=${text}`)).toEqual({ A: text });
      }),
    );
  });
});

describe('settings', () => {
  test('of a file that Windows wrote are taken without its carriage returns', () => {
    expect(parseConfig({ HOST: '127.0.0.1\r', PORT: '8081\r' })).toMatchObject({
      host: '127.0.0.1',
      port: 8081,
    });
  });

  test('name an address as HOST, or are refused for it', () => {
    expect(() => parseConfig({ HOST: 'http://127.0.0.1' })).toThrow(/^HOST: must be an address/);
    expect(() => parseConfig({ HOST: 'my host' })).toThrow(/^HOST: must be an address/);
  });

  test('refuse an admin key that can be guessed, and say how long it must be', () => {
    expect(() => parseConfig({ ADMIN_API_KEY: 'x' })).toThrow(
      /^ADMIN_API_KEY: must be 16 characters or more .* openssl rand -hex 32 prints$/,
    );
    expect(parseConfig({ ADMIN_API_KEY: 'x'.repeat(16) }).adminApiKey).toBe('x'.repeat(16));
  });

  test('tell which variables look like settings and are none', () => {
    const variables = { KAFKA_GROUP: 'x', LORAWAN_TIMEOUT: '1', ADMIN_API_KEY_FILE: '', PATH: '/' };
    expect(parseConfig(variables).unknownNames).toEqual(['KAFKA_GROUP', 'LORAWAN_TIMEOUT']);
    expect(parseConfig({ KAFKA_SOURCE: 'x', RATE_LIMIT_PER_KEY: '5' }).unknownNames).toEqual([]);
  });

  test('take secrets from files, one way or the other', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'fleetledger-test-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = (name: string, text: string): string => {
      const place = path.join(folder, name);
      writeFileSync(place, text);
      return place;
    };
    const key = 'the-admin-key-of-the-file';
    const url = 'postgres://app:secret@db/fleetledger';
    const settings = parseConfig({
      ADMIN_API_KEY_FILE: file('key', `${key}\n`),
      DATABASE_URL_FILE: file('url', url),
    });
    expect(settings).toMatchObject({ adminApiKey: key, databaseUrl: url });

    const refused = (): unknown =>
      parseConfig({
        ADMIN_API_KEY: key,
        ADMIN_API_KEY_FILE: file('key', key),
        DATABASE_URL_FILE: path.join(folder, 'missing'),
        LORAWAN_API_KEY_FILE: file('empty', '\n'),
        PORT: 'x',
      });
    expect(refused).toThrow(
      /^ADMIN_API_KEY_FILE: .* keep one of them\nDATABASE_URL_FILE: it cannot be read \(ENOENT.*\nLORAWAN_API_KEY_FILE: .* is empty\nPORT: /,
    );
  });

  test('say which origins and which proxies are trusted', () => {
    expect(
      parseConfig({
        CORS_ORIGINS: 'https://app.example.com, http://localhost:5173',
        TRUST_PROXY: 'loopback, 10.0.0.0/8,2001:db8::/32,192.0.2.1',
      }),
    ).toMatchObject({
      corsOrigins: ['https://app.example.com', 'http://localhost:5173'],
      trustedProxies: ['loopback', '10.0.0.0/8', '2001:db8::/32', '192.0.2.1'],
    });
    expect(parseConfig({ CORS_ORIGINS: '*' }).corsOrigins).toEqual(['*']);
    expect(parseConfig({})).toMatchObject({ corsOrigins: [], trustedProxies: [] });
  });

  test.each(['app.example.com', 'https://app.example.com/', 'https://a.b/path', 'ftp://a.b', '**'])(
    'refuse %j as an origin',
    (origin) => {
      expect(() => parseConfig({ CORS_ORIGINS: origin })).toThrow(/^CORS_ORIGINS: must be origins/);
    },
  );

  test.each(['true', 'proxy.internal', '10.0.0.0/33', '2001:db8::/129', '10.0.0', '10.0.0.0/'])(
    'refuse %j as a proxy',
    (proxy) => {
      expect(() => parseConfig({ TRUST_PROXY: proxy })).toThrow(/^TRUST_PROXY: must be addresses/);
    },
  );

  test('describe a Kafka cluster with TLS and credentials, from files where they are secret', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'kafka-settings-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = (name: string): string => {
      writeFileSync(path.join(folder, name), `${name} as PEM`);
      return path.join(folder, name);
    };
    const { kafka } = parseConfig({
      KAFKA_BROKERS: 'one:9093, two:9093',
      KAFKA_SSL_CA_FILE: file('ca'),
      KAFKA_SSL_CERT_FILE: file('cert'),
      KAFKA_SSL_KEY_FILE: file('key'),
      KAFKA_SASL_MECHANISM: 'scram-sha-512',
      KAFKA_SASL_USERNAME: 'fleet',
      KAFKA_SASL_PASSWORD_FILE: file('password'),
    });
    expect(kafka?.cluster).toEqual({
      brokers: ['one:9093', 'two:9093'],
      tls: { ca: 'ca as PEM', identity: { cert: 'cert as PEM', key: 'key as PEM' } },
      sasl: { mechanism: 'scram-sha-512', username: 'fleet', password: 'password as PEM' },
    });
    expect(connectionTo(kafka!.cluster)).toEqual({
      brokers: ['one:9093', 'two:9093'],
      ssl: { ca: ['ca as PEM'], cert: 'cert as PEM', key: 'key as PEM' },
      sasl: { mechanism: 'scram-sha-512', username: 'fleet', password: 'password as PEM' },
    });
  });

  test('leave Kafka unencrypted unless TLS is asked for', () => {
    const plain = parseConfig({ KAFKA_BROKERS: 'one:9092' }).kafka?.cluster;
    expect(plain).toEqual({ brokers: ['one:9092'], tls: undefined, sasl: undefined });
    expect(connectionTo(plain!)).toEqual({ brokers: ['one:9092'] });
    const encrypted = parseConfig({ KAFKA_BROKERS: 'one:9092', KAFKA_SSL: 'true' }).kafka?.cluster;
    expect(connectionTo(encrypted!)).toEqual({ brokers: ['one:9092'], ssl: {} });
  });

  test.each([
    [{ KAFKA_SSL: 'yes' }, 'KAFKA_SSL: must be true or false'],
    [{ KAFKA_SSL_CA_FILE: '/none' }, 'KAFKA_SSL_CA_FILE: it cannot be read (ENOENT'],
    [
      { KAFKA_SSL: 'false', KAFKA_SSL_CA_FILE: '/none' },
      'KAFKA_SSL: is false, and KAFKA_SSL_CA_FILE is set: remove one of them',
    ],
    [
      { KAFKA_SSL_CERT_FILE: '/dev/null' },
      'KAFKA_SSL_CERT_FILE, KAFKA_SSL_KEY_FILE: a certificate needs its key: set both, or none',
    ],
    [
      { KAFKA_SASL_MECHANISM: 'gssapi' },
      'KAFKA_SASL_MECHANISM: must be one of plain, scram-sha-256, scram-sha-512',
    ],
    [
      { KAFKA_SASL_USERNAME: 'fleet' },
      'KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD: set all three, or none',
    ],
  ])('of %j are refused by name', (variables, line) => {
    expect(() => parseConfig({ KAFKA_BROKERS: 'one:9092', ...variables })).toThrow(line);
  });
});
