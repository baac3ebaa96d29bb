import { describe, expect, test } from 'vitest';
import type { EventStore, Position, Write } from '../../src/event-store/port.ts';
import { streamName } from '../../src/event-store/stream-name.ts';
import { KeyDirectory } from '../../src/projections/tenancy/key-directory.ts';
import type { KeyHolder, TenancyQueries } from '../../src/projections/tenancy/tenancy-queries.ts';

function keyOf(keyId: string, holder: string, isRevoked = false): KeyHolder {
  return {
    keyId,
    kind: 'dev',
    projectId: 'p',
    holder,
    secretHash: '',
    isRevoked,
    role: null,
    isActiveDevice: true,
    sensorId: null,
  };
}

function retired(deviceId: string): Write {
  const metadata = { projectId: 'p', actor: 'a', correlationId: 'c', schemaVersion: 1 };
  return {
    stream: streamName('device', 'p', deviceId),
    expectedRevision: 0n,
    events: [{ id: deviceId, type: 'DeviceRetired', data: { deviceId }, metadata }],
  };
}

/** A directory over these keys; `during` comes between each reading and its answer. */
function directoryOf(keys: Map<string, KeyHolder>, during: (directory: KeyDirectory) => void) {
  const read: string[] = [];
  const queries: Pick<TenancyQueries, 'keyHolder'> = {
    keyHolder(keyId) {
      read.push(keyId);
      const found = keys.get(keyId);
      during(directory);
      return Promise.resolve(found);
    },
  };
  const store: Pick<EventStore, 'head'> = { head: () => Promise.resolve(1n as Position) };
  const directory = new KeyDirectory(queries as TenancyQueries, store as EventStore);
  return { directory, read };
}

describe('a key that is looked up', () => {
  test('is read once, whatever happens to other holders meanwhile', async () => {
    const keys = new Map([['k', keyOf('k', 'd')]]);
    const { directory, read } = directoryOf(keys, (self) =>
      self.appended(retired('other'), 2n as Position),
    );

    expect(await directory.find('k')).toMatchObject({ keyId: 'k' });
    expect(await directory.find('k')).toMatchObject({ keyId: 'k' });
    expect(read).toEqual(['k']);
  });

  test('is read again when its own holder changed meanwhile', async () => {
    const keys = new Map([['k', keyOf('k', 'd')]]);
    const { directory, read } = directoryOf(keys, (self) => {
      if (keys.get('k')?.isRevoked === true) return;
      keys.set('k', keyOf('k', 'd', true));
      self.appended(retired('d'), 2n as Position);
    });

    expect(await directory.find('k')).toMatchObject({ isRevoked: true });
    expect(read).toEqual(['k', 'k']);
  });

  test('leaves the cache with all keys of its holder, and with no others', async () => {
    const keys = new Map(
      [keyOf('k1', 'd'), keyOf('k2', 'd'), keyOf('k3', 'e')].map((key) => [key.keyId, key]),
    );
    const { directory, read } = directoryOf(keys, () => undefined);
    for (const keyId of keys.keys()) await directory.find(keyId);
    directory.appended(retired('d'), 2n as Position);
    read.length = 0;

    for (const keyId of keys.keys()) await directory.find(keyId);
    expect(read).toEqual(['k1', 'k2']);
  });
});
