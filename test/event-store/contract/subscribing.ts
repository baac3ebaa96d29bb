import { expect, test, vi } from 'vitest';
import { BEGINNING, type Batch, type EventStore } from '../../../src/event-store/port.ts';
import type { LogUnderTest } from '../contract.ts';
import { checkBatch, collectBatches, Follower, MAX_BYTES_PER_BATCH } from './follower.ts';
import { ids, mustAppend, stored, TestProject } from './test-project.ts';

export function subscribing(log: LogUnderTest): void {
  test('gives what is there, then what comes', async () => {
    const project = new TestProject();
    const stream = project.stream('device');
    const after = await log.store.head();
    const events = project.events(30);
    const { position: there } = await mustAppend(log.store, stream, events.slice(0, 10));

    const follower = new Follower(log.store, { project, after });
    await follower.reaches(there);
    for (const event of events.slice(10)) {
      const { position } = await mustAppend(log.store, stream, [event]);
      await follower.reaches(position);
    }

    expect(follower.events).toEqual(await project.recorded(log.store, [stream]));
    expect(ids(follower.events)).toEqual(ids(events));
  });

  test('learns of what another client appends', async () => {
    const project = new TestProject();
    const after = await log.store.head();
    const another = await log.openAnother();
    const follower = new Follower(another, { project, after });

    for (const event of project.events(10)) {
      const { position } = await mustAppend(log.store, project.stream('device'), [event]);
      await follower.reaches(position);
      expect(follower.events.at(-1)?.id).toBe(event.id);
    }
  });

  test('begins at the very beginning of the log', async () => {
    const project = new TestProject();
    const types = ['ContractBegun'];
    const events = project.events(3, 'ContractBegun');
    const { position } = await mustAppend(log.store, project.stream('device'), events);

    const follower = new Follower(log.store, { project, after: BEGINNING, types });
    await follower.reaches(position);

    expect(ids(follower.events)).toEqual(ids(events));
  });

  test('never skips or goes back, whatever order concurrent writers commit in', async () => {
    const project = new TestProject();
    const types = ['ContractRetested'];
    const another = await log.openAnother();
    const start = await log.store.head();
    const { streams, appended, done } = write(project, [log.store, another]);

    const followers = [
      new Follower(log.store, { project, after: start }),
      new Follower(another, { project, after: start }),
      new Follower(another, { project, after: start, types }),
    ];
    for (const share of [0.2, 0.4, 0.6, 0.8]) {
      // A writer that fails ends the test, which would otherwise wait for it in vain.
      await Promise.race([
        done,
        vi.waitFor(() => expect(appended()).toBeGreaterThan(share), {
          timeout: 40_000,
          interval: 1,
        }),
      ]);
      const middle = await log.store.head();
      followers.push(
        new Follower(log.store, { project, after: middle }),
        new Follower(another, { project, after: middle }),
        new Follower(another, { project, after: start }),
        new Follower(log.store, { project, after: middle, types }),
      );
    }
    await done;

    const recorded = await project.recorded(log.store, streams);
    const last = recorded.at(-1)?.position ?? start;
    for (const follower of followers) {
      await follower.reaches(last);
      expect(follower.events).toEqual(
        recorded.filter(
          ({ position, type }) =>
            position > follower.after && (follower.types?.includes(type) ?? true),
        ),
      );
    }
  });

  test('resumed from any checkpoint, gives exactly the rest', async () => {
    const project = new TestProject();
    const after = await log.store.head();
    const follower = new Follower(log.store, { project, after });
    const filtered = new Follower(log.store, { project, after, types: ['ContractRetested'] });
    const { streams, done } = write(project, [log.store]);
    await done;
    const recorded = await project.recorded(log.store, streams);
    const last = recorded.at(-1)?.position ?? after;
    await Promise.all([follower.reaches(last), filtered.reaches(last)]);

    for (const { batches, types } of [follower, filtered]) {
      const matching = recorded.filter(({ type }) => types?.includes(type) ?? true);
      for (const [index, { position }] of sample(batches, 12).entries()) {
        const rest = ids(matching.filter((event) => event.position > position));
        const read = await collectBatches(
          log.store.readAll({ after: position, ...(types && { types }) }),
          position,
        );
        expect(ids(project.own(read)), `read after checkpoint ${index}`).toEqual(rest);

        const resumed = new Follower(log.store, {
          project,
          after: position,
          ...(types && { types }),
        });
        await resumed.reaches(last);
        expect(ids(resumed.events), `subscribed after checkpoint ${index}`).toEqual(rest);
        await resumed.stop();
      }
    }
  });

  test('moves its position to the head also when nothing matches', async () => {
    const project = new TestProject();
    const types = ['ContractUnheardOf'];
    const after = await log.store.head();
    const waiting = new Follower(log.store, { project, after, types });
    await mustAppend(log.store, project.stream('device'), project.events(300));
    const { position } = await mustAppend(log.store, project.stream('device'), project.events(1));

    await waiting.reaches(position);
    const catchingUp = new Follower(log.store, { project, after, types });
    await catchingUp.reaches(position);

    // One event at a time is the hard case: servers report the progress of a filter now and then.
    for (let count = 0; count < 5; count += 1) {
      const { position: next } = await mustAppend(
        log.store,
        project.stream('device'),
        project.events(1),
      );
      await waiting.reaches(next);
      await catchingUp.reaches(next);
    }
    expect(waiting.events).toEqual([]);
    expect(catchingUp.events).toEqual([]);
  });

  test('ends with the error of a consumer that throws, and the store continues', async () => {
    const project = new TestProject();
    const stream = project.stream('device');
    const client = await log.openAnother();
    const after = await client.head();
    await mustAppend(client, stream, project.events(10));
    const consume = async (): Promise<void> => {
      const { signal } = new AbortController();
      for await (const batch of client.subscribe({ after, signal })) {
        if (project.own([batch]).length > 0) throw new Error('the consumer broke');
      }
    };

    for (let attempt = 0; attempt < 20; attempt += 1) {
      await expect(consume()).rejects.toThrow('the consumer broke');
    }

    const follower = new Follower(client, { project, after });
    const { position } = await mustAppend(client, stream, project.events(1));
    await follower.reaches(position);
    expect(follower.events).toEqual(await project.recorded(client, [stream]));
  });

  test('ends without an error when it is aborted while it waits for what comes', async () => {
    const project = new TestProject();
    const after = await log.store.head();
    const follower = new Follower(log.store, { project, after });
    const { position } = await mustAppend(log.store, project.stream('device'), project.events(1));
    await follower.reaches(position);

    await follower.stop();

    await mustAppend(log.store, project.stream('device'), project.events(1));
    expect(follower.events).toHaveLength(1);
  });

  test('gives no batch after it was aborted, also in the middle of catching up', async () => {
    const project = new TestProject();
    const client = await log.openAnother();
    const after = await client.head();
    for (let count = 0; count < 10; count += 1) {
      await mustAppend(client, project.stream('device'), project.events(1_000));
    }

    const batches: Batch[] = [];
    const abort = new AbortController();
    for await (const batch of client.subscribe({ after, signal: abort.signal })) {
      batches.push(batch);
      abort.abort();
    }
    expect(batches).toHaveLength(1);

    for await (const batch of client.subscribe({ after, signal: abort.signal }))
      batches.push(batch);
    expect(batches).toHaveLength(1);
  });

  test(
    'waits for a slow consumer, holds up nobody else, and drops nothing',
    { tags: ['slow'] },
    async () => {
      const project = new TestProject();
      const after = await log.store.head();
      const abort = new AbortController();
      const slow = log.store.subscribe({ after, signal: abort.signal })[Symbol.asyncIterator]();
      const quick = new Follower(log.store, { project, after });
      await mustAppend(log.store, project.stream('first'), project.events(1));
      const first = await slow.next();
      if (first.done) throw new Error('the subscription ended unasked');

      const streams = Array.from({ length: 20 }, (_, ordinal) => project.stream(String(ordinal)));
      const padding = 'x'.repeat(300);
      for (let round = 0; round < 10; round += 1) {
        const answers = await log.store.append(
          streams.map((stream) => ({
            stream,
            events: Array.from({ length: 100 }, (_, ordinal) =>
              project.event({ round, ordinal, padding }),
            ),
            expectedRevision: 'any',
          })),
        );
        answers.forEach(stored);
      }
      const last = await log.store.head();
      await quick.reaches(last);

      const batches = [first.value];
      let checkpoint = first.value.position;
      while (checkpoint < last) {
        const next = await slow.next();
        if (next.done) throw new Error('the subscription ended unasked');
        checkBatch(next.value, checkpoint);
        checkpoint = next.value.position;
        batches.push(next.value);
      }
      abort.abort();
      expect(await slow.next()).toMatchObject({ done: true });

      const recorded = await project.recorded(log.store, [project.stream('first'), ...streams]);
      expect(recorded).toHaveLength(20_001);
      expect(ids(project.own(batches))).toEqual(ids(recorded));
      expect(ids(quick.events)).toEqual(ids(recorded));
    },
  );

  test('gives large events in batches that fit in memory', { tags: ['slow'] }, async () => {
    const project = new TestProject();
    const stream = project.stream('device');
    const after = await log.store.head();
    const text = 'x'.repeat(900_000);
    for (let count = 0; count < 40; count += 1) {
      await mustAppend(log.store, stream, [project.event({ count, text })]);
    }
    const last = await log.store.head();

    const read = await collectBatches(log.store.readAll({ after }), after);
    const follower = new Follower(log.store, { project, after });
    await follower.reaches(last);

    for (const batches of [read, follower.batches]) {
      expect(project.own(batches).map(({ data }) => data['count'])).toEqual(
        Array.from({ length: 40 }, (_, count) => count),
      );
      const bytes = batches.map((batch) => project.own([batch]).length * text.length);
      expect(Math.max(...bytes)).toBeLessThanOrEqual(MAX_BYTES_PER_BATCH);
    }
  });

  test('serves 30 subscriptions of one client', async () => {
    const project = new TestProject();
    const after = await log.store.head();
    const followers = Array.from({ length: 30 }, () => new Follower(log.store, { project, after }));
    const events = project.events(20);
    for (const event of events) await mustAppend(log.store, project.stream('device'), [event]);
    const last = await log.store.head();

    for (const follower of followers) {
      await follower.reaches(last);
      expect(ids(follower.events)).toEqual(ids(events));
    }
  });
}

/** 32 writers, 20 appends of 1 to 5 events each, in 16 streams; some of the appends are refused. */
function write(project: TestProject, clients: readonly EventStore[]) {
  const streams = Array.from({ length: 16 }, (_, ordinal) => project.stream(`device ${ordinal}`));
  const appendsPerWriter = 20;
  let count = 0;
  const writers = Array.from({ length: 32 }, async (_, writer) => {
    const client = clients[writer % clients.length];
    const stream = streams[writer % streams.length];
    if (client === undefined || stream === undefined) throw new Error('no clients');
    for (let ordinal = 0; ordinal < appendsPerWriter; ordinal += 1) {
      const type = ordinal % 3 === 0 ? 'ContractRetested' : 'ContractTested';
      const [answer, refused] = await client.append([
        {
          stream,
          events: project.events(1 + ((writer + ordinal) % 5), type),
          expectedRevision: 'any',
        },
        { stream, events: project.events(3, type), expectedRevision: 'no-stream' },
      ]);
      stored(answer);
      expect(refused?.outcome).toBe('conflict');
      count += 1;
    }
  });
  return {
    streams,
    /** From 0 to 1. */
    appended: () => count / (writers.length * appendsPerWriter),
    done: Promise.all(writers),
  };
}

/** At most so many, spread evenly. */
function sample<T>(items: readonly T[], count: number): T[] {
  const step = Math.max(1, Math.ceil(items.length / count));
  return items.filter((_, index) => index % step === 0);
}
