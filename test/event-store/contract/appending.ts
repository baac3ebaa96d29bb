import { expect, test } from 'vitest';
import type { Appended, ExpectedRevision } from '../../../src/event-store/port.ts';
import type { LogUnderTest } from '../contract.ts';
import { collectBatches } from './follower.ts';
import { append, ids, mustAppend, readStream, stored, TestProject } from './test-project.ts';

export function appending(log: LogUnderTest): void {
  const cases: [
    ExpectedRevision,
    { missing: bigint | 'conflict'; existing: bigint | 'conflict' },
  ][] = [
    ['any', { missing: 0n, existing: 3n }],
    ['no-stream', { missing: 0n, existing: 'conflict' }],
    ['stream-exists', { missing: 'conflict', existing: 3n }],
    [0n, { missing: 'conflict', existing: 'conflict' }],
    [1n, { missing: 'conflict', existing: 'conflict' }],
    [2n, { missing: 'conflict', existing: 3n }],
    [3n, { missing: 'conflict', existing: 'conflict' }],
    [2n ** 62n, { missing: 'conflict', existing: 'conflict' }],
  ];

  for (const [expected, { missing, existing }] of cases) {
    test(`${expected} ${outcome(missing)} when the stream is missing`, async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      const event = project.event();

      const answer = await append(log.store, stream, [event], expected);

      expect(answer).toMatchObject(
        missing === 'conflict'
          ? { outcome: 'conflict', actualRevision: 'no-stream' }
          : { outcome: 'appended', revision: missing },
      );
      expect(ids(await readStream(log.store, stream))).toEqual(
        missing === 'conflict' ? [] : [event.id],
      );
    });

    test(`${expected} ${outcome(existing)} when the stream is at revision 2`, async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      const before = project.events(3);
      await mustAppend(log.store, stream, before, 'no-stream');
      const event = project.event();

      const answer = await append(log.store, stream, [event], expected);

      expect(answer).toMatchObject(
        existing === 'conflict'
          ? { outcome: 'conflict', actualRevision: 2n }
          : { outcome: 'appended', revision: existing },
      );
      expect(ids(await readStream(log.store, stream))).toEqual(
        ids(existing === 'conflict' ? before : [...before, event]),
      );
    });
  }

  test('a refused write leaves nothing in the log either', async () => {
    const project = new TestProject();
    const after = await log.store.head();
    await append(log.store, project.stream('device'), project.events(3), 5n);

    const batches = await collectBatches(log.store.readAll({ after }), after);

    expect(project.own(batches)).toEqual([]);
  });

  for (const expectedRevision of ['no-stream', 0n] as const) {
    test(`whoever is refused at ${expectedRevision} can at once read the event that came first`, async () => {
      const project = new TestProject();
      const clients = [log.store, await log.openAnother()];

      // One race after the other: a busy client would come too late to see it.
      for (let race = 0; race < 10; race += 1) {
        const stream = project.stream(String(race));
        if (expectedRevision !== 'no-stream') {
          await mustAppend(log.store, stream, project.events(1), 'no-stream');
        }
        await Promise.all(
          clients.map(async (client) => {
            const answer = await append(client, stream, project.events(2), expectedRevision);
            if (answer.outcome === 'appended') return;
            const recorded = await readStream(client, stream);
            expect(answer).toEqual({
              outcome: 'conflict',
              actualRevision: expectedRevision === 'no-stream' ? 1n : 2n,
            });
            expect(recorded.at(-1)?.revision).toBe(answer.actualRevision);
          }),
        );
      }
    });
  }

  test('the events of a write get consecutive revisions and growing positions', async () => {
    const project = new TestProject();
    const stream = project.stream('device');
    await mustAppend(log.store, stream, project.events(2));
    const events = project.events(50);

    const answer = await mustAppend(log.store, stream, events, 1n);

    const recorded = (await readStream(log.store, stream)).slice(2);
    expect(ids(recorded)).toEqual(ids(events));
    expect(recorded.map(({ revision }) => revision)).toEqual(
      events.map((_, index) => BigInt(index) + 2n),
    );
    const positions = recorded.map(({ position }) => position);
    expect(positions).toEqual([...new Set(positions)].toSorted((a, b) => (a < b ? -1 : 1)));
    expect(answer).toMatchObject({ revision: 51n, position: positions.at(-1) });
  });

  test('the writes of an append succeed and fail apart, and are answered in their order', async () => {
    const project = new TestProject();
    const existing = project.stream('existing');
    await mustAppend(log.store, existing, project.events(2), 'no-stream');
    const write = (id: string, expectedRevision: ExpectedRevision, count: number) => ({
      stream: project.stream(id),
      events: project.events(count),
      expectedRevision,
    });
    const writes = [
      write('a', 'no-stream', 3),
      write('existing', 'no-stream', 1),
      write('b', 'stream-exists', 1),
      write('c', 'any', 1),
      write('existing', 1n, 2),
      write('d', 7n, 1),
      write('e', 'no-stream', 2),
    ];

    const answers = await log.store.append(writes);

    expect(answers).toMatchObject([
      { outcome: 'appended', revision: 2n },
      { outcome: 'conflict', actualRevision: 1n },
      { outcome: 'conflict', actualRevision: 'no-stream' },
      { outcome: 'appended', revision: 0n },
      { outcome: 'appended', revision: 3n },
      { outcome: 'conflict', actualRevision: 'no-stream' },
      { outcome: 'appended', revision: 1n },
    ] satisfies Partial<Appended>[]);
    for (const [index, { stream, events }] of writes.entries()) {
      const answer = answers[index];
      const recorded = await readStream(log.store, stream);
      const last = recorded.find(({ id }) => id === events.at(-1)?.id);
      expect(last?.position).toBe(answer?.outcome === 'appended' ? answer.position : undefined);
    }
  });

  test('two writes to one stream in one append keep their order', async () => {
    const project = new TestProject();
    const stream = project.stream('device');
    const events = project.events(4);
    const [first, second, third, fourth] = events.map((event) => [event]);

    const answers = await log.store.append([
      { stream, events: first ?? [], expectedRevision: 'no-stream' },
      { stream, events: second ?? [], expectedRevision: 0n },
      { stream: project.stream('other'), events: project.events(1), expectedRevision: 'no-stream' },
      { stream, events: third ?? [], expectedRevision: 'any' },
      { stream, events: project.events(1), expectedRevision: 0n },
      { stream, events: fourth ?? [], expectedRevision: 'stream-exists' },
    ]);

    expect(answers).toMatchObject([
      { outcome: 'appended', revision: 0n },
      { outcome: 'appended', revision: 1n },
      { outcome: 'appended', revision: 0n },
      { outcome: 'appended', revision: 2n },
      { outcome: 'conflict', actualRevision: 2n },
      { outcome: 'appended', revision: 3n },
    ]);
    expect(ids(await readStream(log.store, stream))).toEqual(ids(events));
  });

  test('an append of no writes has no answers, and the next append is answered', async () => {
    const project = new TestProject();
    const another = await log.openAnother();

    expect(await another.append([])).toEqual([]);

    await mustAppend(another, project.stream('device'), project.events(1));
  });

  test('a thousand writes in one append are each stored in their own stream', async () => {
    const project = new TestProject();
    const after = await log.store.head();
    const writes = Array.from({ length: 1_000 }, (_, ordinal) => ({
      stream: project.stream('device', String(ordinal)),
      events: project.events(1),
      expectedRevision: 'no-stream' as const,
    }));

    const answers = await log.store.append(writes);

    const recorded = project.own(await collectBatches(log.store.readAll({ after }), after));
    const byStream = new Map(recorded.map((event) => [event.stream, event]));
    expect(recorded).toHaveLength(1_000);
    expect(answers.map((answer) => stored(answer).position)).toEqual(
      writes.map(({ stream }) => byStream.get(stream)?.position),
    );
    expect(writes.map(({ events }) => events[0]?.id)).toEqual(
      writes.map(({ stream }) => byStream.get(stream)?.id),
    );
  });

  test('an event of 900 KB comes back whole', async () => {
    const project = new TestProject();
    const stream = project.stream('device');
    const after = await log.store.head();
    const event = project.event({ text: 'usage€'.repeat(900_000 / 8) });

    await mustAppend(log.store, stream, [event], 'no-stream');

    const [fromStream] = await readStream(log.store, stream);
    const [fromAll] = project.own(await collectBatches(log.store.readAll({ after }), after));
    expect(fromStream?.data).toEqual(event.data);
    expect(fromAll?.data).toEqual(event.data);
  });

  test(
    'of 64 writers on one stream, each acknowledged append is stored once and no refused one',
    { tags: ['slow'] },
    async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      const clients = [log.store, await log.openAnother()];
      const acknowledged = new Map<string, { revision: bigint; position: bigint }>();
      const appendsPerWriter = 3;

      async function write(writer: number): Promise<void> {
        const client = clients[writer % clients.length] ?? log.store;
        let expected: 'no-stream' | bigint = 'no-stream';
        for (let count = 0; count < appendsPerWriter;) {
          const event = project.event({ writer, count });
          const answer = await append(client, stream, [event], expected);
          if (answer.outcome === 'appended') {
            acknowledged.set(event.id, { revision: answer.revision, position: answer.position });
            expected = answer.revision;
            count += 1;
            continue;
          }
          expect(answer.outcome).toBe('conflict');
          // Someone else was first, so the stream has grown: without this the loop might not end.
          if (
            answer.actualRevision === 'no-stream' ||
            (expected !== 'no-stream' && answer.actualRevision <= expected)
          ) {
            throw new Error(`expected ${expected}, refused at ${answer.actualRevision}`);
          }
          expected = answer.actualRevision;
        }
      }
      await Promise.all(Array.from({ length: 64 }, (_, writer) => write(writer)));

      const recorded = await readStream(log.store, stream);
      expect(recorded.map(({ revision }) => revision)).toEqual(
        Array.from({ length: 64 * appendsPerWriter }, (_, revision) => BigInt(revision)),
      );
      expect(
        new Map(recorded.map(({ id, revision, position }) => [id, { revision, position }])),
      ).toEqual(acknowledged);
    },
  );
}

function outcome(revision: bigint | 'conflict'): string {
  return revision === 'conflict' ? 'is a conflict' : 'appends';
}
