import { ANY, BACKWARDS, binaryEvent, END, jsonEvent, START } from '@eventstore/db-client';
import shared from '@eventstore/db-client/generated/shared_pb.js';
import { StreamsClient } from '@eventstore/db-client/generated/streams_grpc_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import { credentials, Metadata } from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import {
  append,
  client,
  collect,
  connect,
  event,
  events,
  ids,
  newStream,
  standIn,
  startAnother,
  useStandIn,
} from './stand-in-fixture.ts';

useStandIn();

test('a stream is read from any revision, either way', async () => {
  const stream = newStream();
  const sent = events(5);
  await append(stream, sent);
  const read = async (options: Parameters<typeof client.readStream>[1]) =>
    ids(await collect(client.readStream(stream, options)));

  expect(await read({})).toEqual(ids(sent));
  expect(await read({ fromRevision: 2n, maxCount: 2 })).toEqual(ids(sent.slice(2, 4)));
  expect(await read({ fromRevision: 5n })).toEqual([]);
  expect(await read({ direction: BACKWARDS, fromRevision: END })).toEqual(ids(sent.toReversed()));
  expect(await read({ direction: BACKWARDS, fromRevision: 1n })).toEqual(
    ids(sent.slice(0, 2).toReversed()),
  );
  expect(await read({ direction: BACKWARDS, fromRevision: END, maxCount: 1 })).toEqual(
    ids(sent.slice(4)),
  );
});

test('reading a stream gives the positions of its events, which grow with gaps', async () => {
  const stream = newStream();
  const { position } = await append(stream, events(3));
  const read = await collect(client.readStream(stream));
  expect(read.at(-1)?.position).toBe(position);
  for (const [index, { position: later }] of read.slice(1).entries()) {
    expect(later - (read[index]?.position ?? later)).toBeGreaterThan(1n);
  }
});

test('a missing or soft-deleted stream is an error while it is iterated', async () => {
  const [missing, deleted] = [newStream(), newStream()];
  await append(deleted, events(2));
  await client.deleteStream(deleted);
  for (const streamName of [missing, deleted]) {
    const readable = client.readStream(streamName);
    await expect(collect(readable)).rejects.toMatchObject({ type: 'stream-not-found' });
  }
});

test('a tombstoned stream is an error', async () => {
  const stream = newStream();
  await append(stream, events(2));
  await client.tombstoneStream(stream);
  await expect(collect(client.readStream(stream))).rejects.toMatchObject({
    type: 'stream-deleted',
    streamName: stream,
  });
});

test('the whole log is read from a position on, and the record there is given too', async () => {
  const [first, second] = [newStream(), newStream()];
  const { position } = await append(first, event());
  await append(second, events(3));
  const from = { commit: position, prepare: position };

  const [atPosition, ...rest] = await collect(client.readAll({ fromPosition: from }));
  expect(atPosition).toMatchObject({ stream: first, position });
  expect(rest.filter(({ stream }) => stream === second)).toHaveLength(3);

  const whole = await collect(client.readAll({ fromPosition: START }));
  expect(whole.length).toBe(standIn.recordCount);
  expect(whole[0]?.stream).toBe('$settings');
  expect(whole[0]?.position).toBeGreaterThan(0n);
  const positions = whole.map((recorded) => recorded.position);
  expect(positions).toEqual([...new Set(positions)].toSorted((a, b) => (a < b ? -1 : 1)));

  const back = await collect(client.readAll({ direction: BACKWARDS, fromPosition: END }));
  expect(back).toEqual(whole.toReversed());
  const before = await collect(client.readAll({ direction: BACKWARDS, fromPosition: from }));
  expect(before).toEqual(whole.filter((recorded) => recorded.position < position).toReversed());
});

test('reading past the end gives nothing', async () => {
  const beyond = { commit: 2n ** 50n, prepare: 2n ** 50n };
  expect(await collect(client.readAll({ fromPosition: beyond }))).toEqual([]);
  expect(await collect(client.readAll({ fromPosition: END }))).toEqual([]);
});

test('reading from a position that is no record is an error', async () => {
  const { position } = await append(newStream(), event());
  const between = { commit: position - 1n, prepare: position - 1n };
  await expect(collect(client.readAll({ fromPosition: between }))).rejects.toMatchObject({
    type: 'unknown',
  });
});

test('a log of 20,000 events is read whole by a slow reader', { tags: ['slow'] }, async () => {
  const stream = newStream();
  for (let count = 0; count < 20; count += 1) await append(stream, events(1_000), ANY);
  const read: bigint[] = [];
  for await (const { event: recorded } of client.readStream(stream)) {
    read.push(recorded?.revision ?? -1n);
    if (read.length % 1_000 === 0) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  }
  expect(read).toEqual(Array.from({ length: 20_000 }, (_, revision) => BigInt(revision)));
});

test('awkward stream names come back as they went', async () => {
  const names = ['a/b', '100%', '%2F', 'a b', '🛰️', 'é', '\'"', 'x'.repeat(300)];
  for (const name of names) {
    const stream = `${name}-${newStream()}`;
    await append(stream, event());
    const [recorded] = await collect(client.readStream(stream));
    expect(recorded?.stream).toBe(stream);
    await expect(append(stream, event())).rejects.toMatchObject({ streamName: stream });
    await expect(collect(client.readStream(`missing-${stream}`))).rejects.toMatchObject({
      type: 'stream-not-found',
    });
  }
});

test('data and metadata come back as they went, JSON and bytes', async () => {
  const stream = newStream();
  const json = jsonEvent({ type: 'Tried', data: { a: ['ü', 1.5] }, metadata: { b: null } });
  const binary = binaryEvent({ type: 'Tried', data: Uint8Array.of(0, 255, 128) });
  await append(stream, [json, binary]);
  const read: unknown[] = [];
  for await (const { event: recorded } of client.readStream(stream)) read.push(recorded);
  expect(read).toMatchObject([
    { isJson: true, data: json.data, metadata: json.metadata },
    { isJson: false, data: binary.data, metadata: undefined },
  ]);
});

test('events of other applications and of the server lie in the log too', async () => {
  standIn.appendForeign('$stats-elsewhere', '$statsCollected', 2);
  standIn.appendForeign('orders-1', 'OrderPlaced', 3);
  const read = await collect(client.readAll({ direction: BACKWARDS, fromPosition: END }));
  const streams = read.map(({ stream }) => stream);
  expect(streams.filter((stream) => stream === 'orders-1')).toHaveLength(3);
  expect(streams.filter((stream) => stream === '$stats-elsewhere')).toHaveLength(2);
});

test('it is found by discovery, as the leader of a cluster of one', async () => {
  const { port } = await startAnother();
  const discovering = connect(`esdb+discover://127.0.0.1:${port}?tls=false`);
  await discovering.appendToStream('a', event());
  expect(await collect(discovering.readStream('a'))).toHaveLength(1);
});

test('reading needs the right credentials', async () => {
  const { port, connectionString } = await startAnother({
    credentials: { username: 'someone', password: 'secret' },
  });
  const denied = { type: 'access-denied' };
  await expect(collect(connect(connectionString).readAll())).rejects.toMatchObject(denied);

  // Without TLS the client sends none.
  const bare = new StreamsClient(`127.0.0.1:${port}`, credentials.createInsecure());
  onTestFinished(() => bare.close());
  const readWith = async (pair: string) => {
    const metadata = new Metadata();
    metadata.set('authorization', `Basic ${Buffer.from(pair).toString('base64')}`);
    const all = new streams.ReadReq.Options.AllOptions();
    all.setStart(new shared.Empty());
    const options = new streams.ReadReq.Options();
    options.setAll(all);
    options.setCount('3');
    const request = new streams.ReadReq();
    request.setOptions(options);
    const read: unknown[] = [];
    for await (const response of bare.read(request, metadata)) read.push(response);
    return read;
  };
  expect(await readWith('someone:secret')).toHaveLength(3);
  await expect(readWith('someone:else')).rejects.toMatchObject({ code: 7 });
});
