import { expect, test, vi } from 'vitest';
import type { LogUnderTest } from '../contract.ts';
import { Follower } from './follower.ts';
import {
  appendUntilAnswered,
  ids,
  mustAppend,
  readStream,
  stored,
  TestProject,
} from './test-project.ts';

export function cutting(log: LogUnderTest): void {
  test('a subscription continues where it was when its connections are cut', async ({ skip }) => {
    const { cutConnections } = log.faults ?? skip('needs the fault cutConnections');
    const project = new TestProject();
    const stream = project.stream('device');
    const another = await log.openAnother();
    const after = await log.store.head();
    const followers = [
      new Follower(log.store, { project, after }),
      new Follower(another, { project, after }),
      new Follower(another, { project, after, types: ['ContractUnheardOf'] }),
    ];

    for (let round = 0; round < 5; round += 1) {
      const before = await mustAppend(log.store, stream, project.events(20));
      // Once while it waits for what comes, once while something is on its way.
      if (round % 2 === 0)
        for (const follower of followers) await follower.reaches(before.position);
      await cutConnections();
      const answer = await appendUntilAnswered(log.store, {
        stream,
        events: project.events(20),
        expectedRevision: before.revision,
      });
      for (const follower of followers) await follower.reaches(stored(answer).position);
    }

    const recorded = await project.recorded(log.store, [stream]);
    expect(recorded).toHaveLength(200);
    expect(followers.map(({ events }) => ids(events))).toEqual([ids(recorded), ids(recorded), []]);
  });

  test('a subscription that is catching up continues where it was when its connections are cut', async ({
    skip,
  }) => {
    const { cutConnections } = log.faults ?? skip('needs the fault cutConnections');
    const project = new TestProject();
    const after = await log.store.head();
    const streams = Array.from({ length: 20 }, (_, ordinal) => project.stream(String(ordinal)));
    for (let round = 0; round < 5; round += 1) {
      await log.store.append(
        streams.map((stream) => ({ stream, events: project.events(100), expectedRevision: 'any' })),
      );
    }
    const recorded = await project.recorded(log.store, streams);
    const last = recorded.at(-1)?.position ?? after;

    const received: string[] = [];
    let cuts = 0;
    const abort = new AbortController();
    for await (const batch of log.store.subscribe({ after, signal: abort.signal })) {
      received.push(...ids(project.own([batch])));
      if (batch.position >= last) abort.abort();
      else if (batch.events.length > 0 && cuts < 5) {
        cuts += 1;
        await cutConnections();
      }
    }

    expect(received).toEqual(ids(recorded));
  });

  test('appends whose connections are cut are stored once, and a subscription misses none', async ({
    skip,
  }) => {
    const { cutConnections } = log.faults ?? skip('needs the fault cutConnections');
    const project = new TestProject();
    const clients = [log.store, await log.openAnother()];
    const after = await log.store.head();
    const followers = clients.map((client) => new Follower(client, { project, after }));
    const writers = 16;
    const appendsPerWriter = 60;
    let acknowledged = 0;
    const sent = new Map<number, string[]>();
    const positions: bigint[] = [];

    async function write(writer: number): Promise<void> {
      const client = clients[writer % 2] ?? log.store;
      const stream = project.stream(String(writer));
      let revision: 'no-stream' | bigint = 'no-stream';
      for (let count = 0; count < appendsPerWriter; count += 1) {
        const events = project.events(2);
        sent.set(writer, [...(sent.get(writer) ?? []), ...ids(events)]);
        // Every fourth writer trusts the ids alone.
        const expectedRevision = writer % 4 === 3 ? 'any' : revision;
        const answer = stored(
          await appendUntilAnswered(client, { stream, events, expectedRevision }),
        );
        expect(answer.revision).toBe(BigInt(count * 2 + 1));
        ({ revision } = answer);
        positions.push(answer.position);
        acknowledged += 1;
      }
    }
    async function cut(): Promise<void> {
      for (const share of [0.1, 0.3, 0.5, 0.7, 0.9]) {
        await vi.waitFor(
          () => expect(acknowledged).toBeGreaterThan(share * writers * appendsPerWriter),
          {
            timeout: 40_000,
            interval: 1,
          },
        );
        await cutConnections();
      }
    }
    await Promise.all([cut(), ...Array.from({ length: writers }, (_, writer) => write(writer))]);

    const streams = Array.from({ length: writers }, (_, writer) => project.stream(String(writer)));
    for (const [writer, stream] of streams.entries()) {
      expect(ids(await readStream(log.store, stream))).toEqual(sent.get(writer));
    }
    const recorded = await project.recorded(log.store, streams);
    expect(recorded.map(({ position }) => position)).toEqual(expect.arrayContaining(positions));
    for (const follower of followers) {
      await follower.reaches(recorded.at(-1)?.position ?? after);
      expect(follower.events).toEqual(recorded);
    }
  });
}
