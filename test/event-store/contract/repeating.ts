import { describe, expect, test } from 'vitest';
import type { EventStore, ExpectedRevision, NewEvent } from '../../../src/event-store/port.ts';
import type { StreamName } from '../../../src/event-store/stream-name.ts';
import type { LogUnderTest } from '../contract.ts';
import { append, ids, mustAppend, readStream, stored, TestProject } from './test-project.ts';

export function repeating(log: LogUnderTest): void {
  const since: [string, (stream: StreamName, project: TestProject) => Promise<EventStore>][] = [
    ['at once', async () => log.store],
    [
      'after other events moved the stream on',
      async (stream, project) => {
        await mustAppend(log.store, stream, project.events(3));
        return log.store;
      },
    ],
    ['to a client opened since', () => log.openAnother()],
  ];

  for (const [when, happen] of since) {
    test(`the same ids at no-stream again, ${when}, get the first answer`, async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      const events = project.events(3);
      const first = await mustAppend(log.store, stream, events, 'no-stream');

      const client = await happen(stream, project);

      await isAnsweredAgain(client, { stream, events, expectedRevision: 'no-stream' }, first);
    });

    test(`the same ids at the same revision again, ${when}, get the first answer`, async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      await mustAppend(log.store, stream, project.events(2), 'no-stream');
      const events = project.events(3);
      const first = await mustAppend(log.store, stream, events, 1n);

      const client = await happen(stream, project);

      await isAnsweredAgain(client, { stream, events, expectedRevision: 1n }, first);
    });
  }

  for (const expectedRevision of ['any', 'stream-exists'] as const) {
    test(`the same ids with ${expectedRevision} again get the first answer, also after other events`, async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      await mustAppend(log.store, stream, project.events(1));
      const events = project.events(3);
      const first = await mustAppend(log.store, stream, events, expectedRevision);

      await isAnsweredAgain(log.store, { stream, events, expectedRevision }, first);
      await mustAppend(log.store, stream, project.events(2));
      await isAnsweredAgain(log.store, { stream, events, expectedRevision }, first);
    });
  }

  test('the first of the ids at the same revision are stored: the answer names the last of them', async () => {
    const project = new TestProject();
    const stream = project.stream('device');
    await mustAppend(log.store, stream, project.events(2));
    const events = project.events(3);
    await mustAppend(log.store, stream, events, 1n);

    const answer = await append(log.store, stream, events.slice(0, 2), 1n);

    const recorded = await readStream(log.store, stream);
    expect(answer).toEqual({ outcome: 'appended', revision: 3n, position: recorded[3]?.position });
    expect(recorded).toHaveLength(5);
  });

  describe('a partial overlap, which stores nothing', () => {
    const overlaps: [
      string,
      ExpectedRevision,
      (sent: NewEvent[], project: TestProject) => NewEvent[],
    ][] = [
      [
        'the ids and one more, at no-stream',
        'no-stream',
        (sent, project) => [...sent, project.event()],
      ],
      [
        'the first ids and others, at no-stream',
        'no-stream',
        (sent, project) => [...sent.slice(0, 1), ...project.events(2)],
      ],
      ['the ids in another order, at no-stream', 'no-stream', (sent) => sent.toReversed()],
      [
        'others and the last id, at no-stream',
        'no-stream',
        (sent, project) => [...project.events(2), ...sent.slice(2)],
      ],
      [
        'the ids and one more, at the same revision',
        0n,
        (sent, project) => [...sent.slice(1), project.event()],
      ],
      ['the ids and one more, with any', 'any', (sent, project) => [...sent, project.event()]],
      [
        'the first id and another, with stream-exists',
        'stream-exists',
        (sent, project) => [...sent.slice(0, 1), project.event()],
      ],
    ];

    test.each(overlaps)('%s', async (_what, expectedRevision, overlap) => {
      const project = new TestProject();
      const stream = project.stream('device');
      const sent = project.events(3);
      await mustAppend(log.store, stream, sent, 'no-stream');

      const answer = await append(log.store, stream, overlap(sent, project), expectedRevision);

      expect(answer).toEqual({ outcome: 'partial-overlap', actualRevision: 2n });
      expect(ids(await readStream(log.store, stream))).toEqual(ids(sent));
    });
  });

  test('the same id in another stream is another event', async () => {
    const project = new TestProject();
    const event = project.event();

    await mustAppend(log.store, project.stream('a'), [event], 'no-stream');
    await mustAppend(log.store, project.stream('b'), [event], 'no-stream');
    await mustAppend(log.store, project.stream('c'), [event], 'any');

    for (const id of ['a', 'b', 'c']) {
      expect(ids(await readStream(log.store, project.stream(id)))).toEqual([event.id]);
    }
  });

  for (const expectedRevision of ['no-stream', 0n, 'any', 'stream-exists'] as const) {
    test(`20 identical appends at once with ${expectedRevision} store once and are answered alike`, async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      const before = expectedRevision === 'no-stream' ? [] : project.events(1);
      if (before.length > 0) await mustAppend(log.store, stream, before);
      const clients = [log.store, await log.openAnother()];
      const events = project.events(2);

      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          append(clients[index % 2] ?? log.store, stream, events, expectedRevision),
        ),
      );

      const recorded = await readStream(log.store, stream);
      const { revision, position } = recorded.at(-1) ?? {};
      expect(ids(recorded)).toEqual(ids([...before, ...events]));
      for (const answer of answers)
        expect(answer).toEqual({ outcome: 'appended', revision, position });
    });
  }

  test('a write and its repetition in one append are answered alike', async () => {
    const project = new TestProject();
    const stream = project.stream('device');
    const write = { stream, events: project.events(2), expectedRevision: 'no-stream' as const };

    const [first, second] = await log.store.append([write, write]);

    expect(stored(first).revision).toBe(1n);
    expect(second).toEqual(first);
    expect(ids(await readStream(log.store, stream))).toEqual(ids(write.events));
  });
}

export interface Repetition {
  readonly stream: StreamName;
  readonly events: NewEvent[];
  readonly expectedRevision: ExpectedRevision;
}

export async function isAnsweredAgain(
  client: EventStore,
  { stream, events, expectedRevision }: Repetition,
  first: { revision: bigint; position: bigint },
): Promise<void> {
  const before = await readStream(client, stream);
  expect(await append(client, stream, events, expectedRevision)).toEqual(first);
  expect(await readStream(client, stream)).toEqual(before);
}
