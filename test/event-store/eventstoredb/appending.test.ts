import { ANY, NO_STREAM, STREAM_EXISTS, type AppendExpectedRevision } from '@eventstore/db-client';
import { describe, expect, test } from 'vitest';
import {
  append,
  client,
  collect,
  connect,
  event,
  events,
  ids,
  newStream,
  restart,
  SINGLE_PATH,
  standIn,
  startAnother,
  useStandIn,
} from './stand-in-fixture.ts';

useStandIn();

const conflict = { type: 'wrong-expected-version' };

describe('the same ids again', () => {
  const since: [string, (stream: string) => Promise<unknown>][] = [
    ['at once', async () => undefined],
    ['after other events', (stream) => append(stream, events(3), ANY)],
    ['after a restart', restart],
  ];
  for (const [when, happen] of since) {
    test(`at NO_STREAM or the same exact revision get the first answer, ${when}`, async () => {
      const stream = newStream();
      const [first, second] = [events(3), events(2)];
      const answers = [await append(stream, first), await append(stream, second, 2n)];
      expect(answers).toMatchObject([{ revision: 2n }, { revision: 4n }]);
      await happen(stream);
      const before = await collectAgain(stream);

      expect([await append(stream, first), await append(stream, second, 2n)]).toEqual(answers);
      expect(await collectAgain(stream)).toEqual(before);
    });
  }

  test.each([ANY, STREAM_EXISTS] as const)(
    'with %s get the first answer, and are written again when the server has forgotten them',
    async (expected) => {
      const stream = newStream();
      await append(stream, event());
      const sent = events(2);
      const answer = await append(stream, sent, expected);
      await append(stream, events(2), ANY);

      expect(await append(stream, sent, expected)).toEqual(answer);
      await restart();
      expect(await append(stream, sent, expected)).toMatchObject({ revision: 6n });
    },
  );

  test('with ANY are known only as far as the id cache reaches', async () => {
    const { connectionString } = await startAnother({ idCacheSize: 2 });
    const another = connect(connectionString);
    const sent = event();
    await another.appendToStream('a', sent, { expectedRevision: ANY });
    await another.appendToStream('b', events(2), { expectedRevision: ANY });

    const { nextExpectedRevision } = await another.appendToStream('a', sent);
    expect(nextExpectedRevision).toBe(1n);
  });

  test('a prefix of them at the same revision gets the answer of its last', async () => {
    const stream = newStream();
    const sent = events(3);
    await append(stream, sent);
    const [, second] = await collect(client.readStream(stream));

    expect(await append(stream, sent.slice(0, 2))).toEqual({
      revision: 1n,
      position: second?.position,
    });
  });

  test.each<[string, AppendExpectedRevision]>([
    ['NO_STREAM', NO_STREAM],
    ['ANY', ANY],
    ['STREAM_EXISTS', STREAM_EXISTS],
  ])('and one more, or in another order, are a conflict at %s', async (_name, expected) => {
    const stream = newStream();
    const sent = events(3);
    await append(stream, sent);
    for (const overlap of [[...sent, event()], sent.toReversed(), [...sent.slice(0, 1), event()]]) {
      await expect(append(stream, overlap, expected)).rejects.toMatchObject(conflict);
    }
    expect(ids(await collectAgain(stream))).toEqual(ids(sent));
  });

  test('at the present revision of the stream are written a second time', async () => {
    const stream = newStream();
    const sent = event();
    await append(stream, sent);
    expect(await append(stream, sent, 0n)).toMatchObject({ revision: 1n });
    expect(ids(await collectAgain(stream))).toEqual([sent.id, sent.id]);
  });

  test('in another stream are other events', async () => {
    const sent = event();
    for (const expected of [NO_STREAM, ANY] as const) {
      expect(await append(newStream(), sent, expected)).toMatchObject({ revision: 0n });
    }
  });
});

describe.each([
  ['the batch path', {}],
  ['the single path', SINGLE_PATH],
])('on %s', (name, path) => {
  test('appends are answered with the revision and position of their last event', async () => {
    const stream = newStream();
    const { batchAppends, singleAppends } = standIn.counts;
    const answer = await client.appendToStream(stream, events(2), {
      ...path,
      expectedRevision: NO_STREAM,
    });
    const [, last] = await collect(client.readStream(stream));

    expect(answer).toEqual({
      success: true,
      nextExpectedRevision: 1n,
      position: { commit: last?.position, prepare: last?.position },
    });
    const isBatch = name === 'the batch path';
    expect(standIn.counts.batchAppends - batchAppends).toBe(isBatch ? 1 : 0);
    expect(standIn.counts.singleAppends - singleAppends).toBe(isBatch ? 0 : 1);
  });

  test('a conflict tells the revision expected and the one that is there', async () => {
    const [stream, missing] = [newStream(), newStream()];
    await append(stream, events(3));
    const cases: [string, AppendExpectedRevision, unknown][] = [
      [stream, NO_STREAM, 2n],
      [stream, 1n, 2n],
      [stream, 3n, 2n],
      [stream, 2n ** 62n, 2n],
      [missing, 0n, 'no_stream'],
      [missing, STREAM_EXISTS, 'no_stream'],
    ];
    for (const [streamName, expectedRevision, actualVersion] of cases) {
      await expect(
        client.appendToStream(streamName, event(), { ...path, expectedRevision }),
      ).rejects.toMatchObject({
        ...conflict,
        message: '',
        streamName,
        expectedVersion: expectedRevision,
        actualVersion,
      });
    }
  });

  test('an empty append succeeds with the revision of the stream', async () => {
    const stream = newStream();
    await append(stream, events(3));
    const answer = await client.appendToStream(stream, [], { ...path, expectedRevision: 2n });
    expect(answer).toMatchObject({ success: true, nextExpectedRevision: 2n });
  });

  test('the limit of 1 MiB is over all events of an append', async () => {
    const part = event('Tried', { text: 'x'.repeat(300_000) });
    const parts = Array.from({ length: 3 }, () => ({ ...part, id: event().id }));
    const sent = [...parts, { ...part, id: event().id }];
    await expect(client.appendToStream(newStream(), sent, path)).rejects.toMatchObject({
      type: 'maximum-append-size-exceeded',
      maxAppendSize: 1024 * 1024,
    });
    expect(await client.appendToStream(newStream(), parts, path)).toMatchObject({ success: true });
  });

  test('a soft-deleted stream takes NO_STREAM again, a tombstoned one nothing', async () => {
    const [deleted, gone] = [newStream(), newStream()];
    for (const stream of [deleted, gone]) await append(stream, events(2));
    await client.deleteStream(deleted);
    await client.tombstoneStream(gone);
    const again = event();

    const options = { ...path, expectedRevision: NO_STREAM } as const;
    const { nextExpectedRevision } = await client.appendToStream(deleted, again, options);
    expect(nextExpectedRevision).toBe(2n);
    expect(ids(await collectAgain(deleted))).toEqual([again.id]);
    await expect(client.appendToStream(gone, event(), path)).rejects.toMatchObject({
      type: 'stream-deleted',
      streamName: gone,
    });
  });

  test('a call without the right credentials is denied', async () => {
    const secured = await startAnother({ credentials: { username: 'a', password: 'b' } });
    const appended = connect(secured.connectionString).appendToStream('a', event(), path);
    await expect(appended).rejects.toMatchObject({ type: 'access-denied' });
  });
});

test('a stream is deleted at the revision it has', async () => {
  const stream = newStream();
  await append(stream, events(2));
  await expect(client.deleteStream(stream, { expectedRevision: 0n })).rejects.toMatchObject(
    conflict,
  );
  await client.deleteStream(stream, { expectedRevision: 1n });
});

test('events carry the time of the server, which can be moved', async () => {
  const stream = newStream();
  await append(stream, event());
  standIn.setClock(-3_600_000);
  await append(stream, event(), 0n);
  standIn.setClock(0);
  const [first, second] = await collect(client.readStream(stream));
  expect(first?.created).toBeInstanceOf(Date);
  expect(Number(second?.created)).toBeLessThan(Number(first?.created));
});

async function collectAgain(stream: string) {
  return collect(connect(standIn.connectionString).readStream(stream));
}
