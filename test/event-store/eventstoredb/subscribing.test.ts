import {
  END,
  eventTypeFilter,
  excludeSystemEvents,
  START,
  streamNameFilter,
  type Filter,
} from '@eventstore/db-client';
import { expect, onTestFinished, test } from 'vitest';
import {
  append,
  client,
  collect,
  connect,
  event,
  events,
  eventually,
  ids,
  newStream,
  standIn,
  startAnother,
  useStandIn,
  Watched,
} from './stand-in-fixture.ts';

useStandIn();

test('gives what is there, says that it has caught up, and then gives what comes', async () => {
  await append(newStream(), events(50));
  const watched = new Watched(client.subscribeToAll({ fromPosition: START }));
  await watched.isCaughtUp();
  expect(watched.signs).toEqual(['confirmation', 'caughtUp']);
  expect(watched.events).toEqual(await collect(client.readAll()));

  await append(newStream(), events(3));
  await eventually(() => watched.events.length === standIn.recordCount);
  expect(watched.events).toEqual(await collect(client.readAll()));
});

test('begins after a position, or at the end', async () => {
  const stream = newStream();
  await append(stream, events(3));
  const [first] = await collect(client.readStream(stream));
  const position = first?.position ?? 0n;
  const fromPosition = { commit: position, prepare: position };
  const after = new Watched(client.subscribeToAll({ fromPosition }));
  const end = new Watched(client.subscribeToAll({ fromPosition: END }));
  await Promise.all([after.isCaughtUp(), end.isCaughtUp()]);

  const [last] = events(1);
  if (last) await append(newStream(), last);
  await eventually(() => end.events.length > 0);
  expect(end.events.map(({ id }) => id)).toContain(last?.id);
  expect(end.events.length).toBeLessThanOrEqual(2);
  expect(after.events.slice(0, 2).map(({ revision }) => revision)).toEqual([1n, 2n]);
  expect(ids(after.events)).not.toContain(first?.id);
});

test('from a position that is no record it is an error', async () => {
  const { position } = await append(newStream(), event());
  const fromPosition = { commit: position - 1n, prepare: position - 1n };
  const watched = new Watched(client.subscribeToAll({ fromPosition }));
  await eventually(() => watched.error !== undefined);
  expect(watched.error).toMatchObject({ type: 'unknown' });
});

test('from beyond the end it is silent', async () => {
  const fromPosition = { commit: 2n ** 50n, prepare: 2n ** 50n };
  const beyond = new Watched(client.subscribeToAll({ fromPosition }));
  const other = new Watched(client.subscribeToAll({ fromPosition: END }));
  await Promise.all([beyond.isCaughtUp(), other.isCaughtUp()]);
  await append(newStream(), events(3));
  await eventually(() => other.events.length >= 3);
  expect(beyond.events).toEqual([]);
  expect(beyond.error).toBeUndefined();
});

const filters: [string, Filter, (stream: string, type: string) => boolean][] = [
  [
    'prefixes of stream names',
    streamNameFilter({ prefixes: ['filtered-a', 'filtered-b'] }),
    (stream) => /^filtered-[ab]/.test(stream),
  ],
  [
    'a regular expression on stream names',
    streamNameFilter({ regex: '^filtered-[bc]' }),
    (stream) => /^filtered-[bc]/.test(stream),
  ],
  [
    'prefixes of event types',
    eventTypeFilter({ prefixes: ['Filt'] }),
    (_stream, type) => type.startsWith('Filt'),
  ],
  [
    'a regular expression on event types',
    eventTypeFilter({ regex: 'ed$' }),
    (_stream, type) => type.endsWith('ed'),
  ],
  ['no system events', excludeSystemEvents(), (_stream, type) => !type.startsWith('$')],
];
for (const [name, filter, matches] of filters) {
  test(`filters by ${name}, before it has caught up and after`, async () => {
    const appendSome = async () => {
      for (const letter of ['a', 'b', 'c']) {
        await append(`filtered-${letter}-${newStream()}`, [event('Filtered'), event('Other')]);
      }
    };
    await appendSome();
    const watched = new Watched(client.subscribeToAll({ filter }));
    await watched.isCaughtUp();
    await appendSome();

    const all = await collect(client.readAll());
    const expected = all.filter(({ stream, type }) => matches(stream, type));
    await eventually(() => watched.events.length >= expected.length);
    expect(ids(watched.events)).toEqual(ids(expected));
  });
}

test('tells how far a filter has looked, every interval times window records', async () => {
  const another = await startAnother();
  const ownClient = connect(another.connectionString);
  const reached: bigint[] = [];
  const filter = streamNameFilter({
    prefixes: ['nothing'],
    checkpointInterval: 3,
    maxSearchWindow: 10,
    checkpointReached: async (_subscription, position) => {
      reached.push(position.commit);
    },
  });
  await ownClient.appendToStream('other', events(100));
  const watched = new Watched(ownClient.subscribeToAll({ filter }));
  await watched.isCaughtUp();
  await ownClient.appendToStream('other', events(100));

  const every30th = (await collect(ownClient.readAll())).filter((_, index) => index % 30 === 29);
  await eventually(() => reached.length >= every30th.length);
  expect(reached).toEqual(every30th.map(({ position }) => position));
  expect(watched.events).toEqual([]);
});

test('a stream is followed from its start or after a revision', async () => {
  const stream = newStream();
  const sent = events(5);
  await append(stream, sent.slice(0, 4));
  const received: string[][] = [];
  for (const fromRevision of [START, 1n] as const) {
    const list: string[] = [];
    received.push(list);
    const subscription = client.subscribeToStream(stream, { fromRevision });
    subscription.on('data', ({ event: recorded }) => list.push(recorded?.id ?? ''));
    onTestFinished(() => subscription.unsubscribe());
  }
  await append(stream, sent.slice(4), 3n);
  await eventually(() => received.every((list) => list.at(-1) === sent.at(-1)?.id));
  expect(received).toEqual([ids(sent), ids(sent.slice(2))]);
});

test('a live subscription for which more than 32 events wait is dropped', async () => {
  const subscription = client.subscribeToAll({ fromPosition: END });
  const watched = new Watched(subscription);
  await watched.isCaughtUp();
  const { drops } = standIn.counts;
  subscription.pause();

  const large = 'x'.repeat(10_000);
  await eventuallyDropped(async () => {
    await append(newStream(), event('Tried', { large }));
  });
  expect(watched.error).toMatchObject({ type: 'timeout', code: 10 });
  expect(watched.error?.message).toContain('Consumer too slow to handle event while live');
  expect(standIn.counts.drops).toBe(drops + 1);

  async function eventuallyDropped(appendOne: () => Promise<void>): Promise<void> {
    for (let count = 0; count < 2_000 && watched.error === undefined; count += 1) {
      await appendOne();
      if (standIn.counts.drops > drops) {
        subscription.resume();
        await eventually(() => watched.error !== undefined);
      }
    }
  }
});

test('one that is still catching up is not dropped, however slow it is', async () => {
  const large = event('Tried', { large: 'x'.repeat(900_000) });
  for (let count = 0; count < 10; count += 1) {
    await append(newStream(), { ...large, id: event().id });
  }
  const { drops } = standIn.counts;
  const subscription = client.subscribeToAll();
  const watched = new Watched(subscription);
  subscription.pause();
  await eventually(() => watched.signs.includes('confirmation'));
  for (let count = 0; count < 10; count += 1) await append(newStream(), events(20));

  subscription.resume();
  await watched.isCaughtUp();
  expect(standIn.counts.drops).toBe(drops);
  expect(watched.events.length).toBe(standIn.recordCount);
});

test('all of them are dropped on demand', async () => {
  const watched = Array.from({ length: 3 }, () => new Watched(client.subscribeToAll()));
  for (const each of watched) await each.isCaughtUp();
  expect(standIn.openSubscriptions).toBe(3);
  standIn.dropSubscriptions();
  for (const each of watched) {
    await eventually(() => each.error !== undefined);
    expect(each.error).toMatchObject({ type: 'timeout' });
  }
  await eventually(() => standIn.openSubscriptions === 0);
});

test('of 130 on one connection that appends, 99 are confirmed', async () => {
  const another = await startAnother();
  const ownClient = connect(another.connectionString);
  await ownClient.appendToStream('a', event());
  const watched = Array.from({ length: 130 }, () => new Watched(ownClient.subscribeToAll()));
  const confirmed = () => watched.filter(({ signs }) => signs.includes('caughtUp')).length;
  await eventually(() => confirmed() === 99);

  await ownClient.appendToStream('a', event());
  await eventually(() => watched.filter(({ events: of }) => of.length >= 7).length === 99);
  expect(confirmed()).toBe(99);
  expect(another.openSubscriptions).toBe(99);
  expect(another.openConnections).toBe(1);
});
