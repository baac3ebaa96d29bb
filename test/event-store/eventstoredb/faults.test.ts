import { NO_STREAM } from '@eventstore/db-client';
import { afterEach, describe, expect, test, vi } from 'vitest';
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
  restart,
  SINGLE_PATH,
  standIn,
  startAnother,
  useStandIn,
  Watched,
} from './stand-in-fixture.ts';

useStandIn();

// A fault of one test leaves the shared client with a connection to make anew.
afterEach(async () => {
  await vi.waitFor(() => client.appendToStream('between', event()), { timeout: 20_000 });
});

test('killed, it refuses connections; restarted, it has all that was acknowledged', async () => {
  const stream = newStream();
  const sent = events(3);
  await append(stream, sent);
  const watched = new Watched(client.subscribeToAll());
  await watched.isCaughtUp();

  await standIn.kill();
  await eventually(() => watched.error !== undefined);
  expect(watched.error).toMatchObject({ type: 'unavailable' });
  await expect(client.appendToStream(stream, event())).rejects.toMatchObject({ code: 14 });
  expect(standIn.openConnections).toBe(0);

  await restart();
  expect(ids(await collect(client.readStream(stream)))).toEqual(ids(sent));
});

test('killed while stalled, it has not done what waited', async () => {
  const stream = newStream();
  const received = standIn.counts.batchAppends;
  standIn.stall();
  const appended = client.appendToStream(stream, event());
  await eventually(() => standIn.counts.batchAppends > received);
  await Promise.all([
    expect(appended).rejects.toMatchObject({ type: 'unavailable' }),
    standIn.kill(),
  ]);
  await restart();
  await expect(collect(client.readStream(stream))).rejects.toThrow('not found');
});

test('connections are cut, and new ones made at once', async () => {
  const watched = new Watched(client.subscribeToAll());
  await watched.isCaughtUp();
  const accepted = standIn.acceptedConnections;
  standIn.cutConnections();
  await eventually(() => watched.error !== undefined);
  expect(watched.error).toMatchObject({ type: 'unavailable' });
  await vi.waitFor(() => client.appendToStream(newStream(), event()), { timeout: 20_000 });
  expect(standIn.acceptedConnections).toBeGreaterThan(accepted);
});

describe('stalled', () => {
  test('it ends a single append at its deadline, and one of the batch path with its connection only', async () => {
    const [single, batch] = [newStream(), newStream()];
    const [onSingle, onBatch] = [event(), event()];
    const received = { ...standIn.counts };
    standIn.stall();
    let batchEnded = false;
    const appended = client
      .appendToStream(batch, onBatch, { deadline: 300, expectedRevision: NO_STREAM })
      .finally(() => (batchEnded = true));
    const refused = appended.catch((error: unknown) => error);
    await eventually(() => standIn.counts.batchAppends > received.batchAppends);

    await expect(
      client.appendToStream(single, onSingle, { ...SINGLE_PATH, deadline: 1_000 }),
    ).rejects.toMatchObject({ type: 'deadline-exceeded' });
    expect(batchEnded).toBe(false);
    expect(standIn.counts.singleAppends).toBe(received.singleAppends + 1);
    standIn.cutConnections();
    expect(await refused).toMatchObject({ type: 'unavailable' });

    // Nobody waits for them any more, and yet they are done.
    const before = standIn.recordCount;
    standIn.resume();
    await eventually(() => standIn.recordCount >= before + 2);
    const other = connect(standIn.connectionString);
    expect(ids(await collect(other.readStream(single)))).toEqual([onSingle.id]);
    expect(ids(await collect(other.readStream(batch)))).toEqual([onBatch.id]);
  });

  test('what waited is answered when it is resumed', async () => {
    const streams = [newStream(), newStream(), newStream()] as const;
    for (const stream of streams) await append(stream, event());
    const before = { ...standIn.counts, records: standIn.recordCount };
    let answered = 0;
    const answers = Promise.all(
      [
        append(streams[0], event(), 0n),
        client.appendToStream(streams[1], event(), { ...SINGLE_PATH, expectedRevision: 0n }),
        collect(client.readStream(streams[2])),
      ].map((answer) => answer.finally(() => (answered += 1))),
    );
    standIn.stall();
    await eventually(() => standIn.counts.batchAppends > before.batchAppends);
    await eventually(() => standIn.counts.singleAppends > before.singleAppends);
    expect(answered).toBe(0);
    expect(standIn.recordCount).toBe(before.records);

    standIn.resume();
    expect(await answers).toMatchObject([
      { revision: 1n },
      { nextExpectedRevision: 1n },
      [{ revision: 0n }],
    ]);
  });

  test('with its answers only, it stores and says nothing', async () => {
    const stream = newStream();
    const before = standIn.recordCount;
    let answered = false;
    standIn.stall('answers');
    const appended = append(stream, event()).finally(() => (answered = true));
    await eventually(() => standIn.recordCount > before);
    expect(answered).toBe(false);
    standIn.resume();
    expect(await appended).toMatchObject({ revision: 0n });
  });

  test('it does not answer pings: keepalive ends the connection', async () => {
    const warn = vi.spyOn(console, 'warn').mockReturnValue();
    const another = await startAnother();
    const impatient = connect(
      `${another.connectionString}&keepAliveInterval=100&keepAliveTimeout=100`,
    );
    warn.mockRestore();
    const watched = new Watched(impatient.subscribeToAll());
    await watched.isCaughtUp();
    expect(watched.error).toBeUndefined();
    another.stall();
    await eventually(() => watched.error !== undefined);
    expect(watched.error).toMatchObject({ type: 'unavailable' });
  });
});

describe.each([
  ['batch', {}],
  ['single', SINGLE_PATH],
])('on the %s path', (path, options) => {
  const attempt = (stream: string, sent = event()) =>
    client.appendToStream(stream, sent, { ...options, expectedRevision: NO_STREAM });

  test('an answer is lost after the append was done', async () => {
    const [stream, sent] = [newStream(), event()];
    standIn.loseAnswers(1);
    await expect(attempt(stream, sent)).rejects.toMatchObject({ type: 'unavailable' });
    await vi.waitFor(() => client.appendToStream('between', event()), { timeout: 20_000 });
    expect(ids(await collect(client.readStream(stream)))).toEqual([sent.id]);
    expect(await attempt(stream, sent)).toMatchObject({ nextExpectedRevision: 0n });
  });

  test('it is not the leader, and the client goes to the one that is', async () => {
    const leader = await startAnother();
    const own = connect(standIn.connectionString);
    await own.appendToStream('before', event());
    standIn.answerNotLeader(1, { host: '127.0.0.1', port: leader.port });
    await expect(own.appendToStream('a', event(), options)).rejects.toMatchObject({
      type: 'not-leader',
      leader: { address: '127.0.0.1', port: leader.port },
    });
    await vi.waitFor(() => own.appendToStream('a', event(), options), { timeout: 20_000 });
    expect(leader.counts.batchAppends + leader.counts.singleAppends).toBeGreaterThan(0);
  });

  test.each([true, false])('a deadline is exceeded, stored: %s', async (stored) => {
    const stream = newStream();
    standIn.answerDeadlineExceeded(1, { stored });
    await expect(attempt(stream)).rejects.toMatchObject({ type: 'deadline-exceeded' });
    const read = await collect(client.readStream(stream)).catch(() => []);
    expect(read).toHaveLength(stored ? 1 : 0);
  });

  test('it is unavailable for an append, or not ready yet', async () => {
    standIn.answerUnavailable(1);
    await expect(attempt(newStream())).rejects.toMatchObject({ type: 'unavailable' });
    await vi.waitFor(() => client.appendToStream('between', event()), { timeout: 20_000 });
    standIn.answerNotReady(1);
    const type = path === 'batch' ? 'unknown' : 'unavailable';
    await expect(attempt(newStream())).rejects.toMatchObject({ type });
  });
});
