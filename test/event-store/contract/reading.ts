import { describe, expect, test } from 'vitest';
import type { NewEvent, ReadStreamOptions, RecordedEvent } from '../../../src/event-store/port.ts';
import { parseStreamName } from '../../../src/event-store/stream-name.ts';
import type { JsonObject } from '../../../src/shared/json.ts';
import type { LogUnderTest } from '../contract.ts';
import { collectBatches } from './follower.ts';
import { collect, ids, mustAppend, readStream, stored, TestProject } from './test-project.ts';

export function reading(log: LogUnderTest): void {
  describe('a stream', () => {
    test('a missing stream gives nothing, either way', async () => {
      const stream = new TestProject().stream('missing');
      expect(await readStream(log.store, stream)).toEqual([]);
      expect(await readStream(log.store, stream, { direction: 'backwards' })).toEqual([]);
      expect(await readStream(log.store, stream, { from: 3n, limit: 2 })).toEqual([]);
      expect(await readStream(log.store, stream, { from: 3n, direction: 'backwards' })).toEqual([]);
    });

    test('is read from any revision, either way, as far as the limit', async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      const events = project.events(10);
      await mustAppend(log.store, stream, events);

      for (const direction of ['forwards', 'backwards'] as const) {
        for (const from of [undefined, 0n, 1n, 4n, 9n, 10n, 1_000n]) {
          for (const limit of [undefined, 1, 4, 10, 100]) {
            const options: ReadStreamOptions = {
              direction,
              ...(from !== undefined && { from }),
              ...(limit !== undefined && { limit }),
            };
            const recorded = await readStream(log.store, stream, options);
            expect(ids(recorded), `read ${direction} from ${from}, limit ${limit}`).toEqual(
              ids(asRead(events, options)),
            );
          }
        }
      }
    });

    test('of 2,500 events is read whole, either way, and from its middle', async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      const events = project.events(2_500);
      for (let sent = 0; sent < events.length; sent += 250) {
        await mustAppend(log.store, stream, events.slice(sent, sent + 250));
      }

      expect(ids(await readStream(log.store, stream))).toEqual(ids(events));
      expect(ids(await readStream(log.store, stream, { from: 1_111n, limit: 1_234 }))).toEqual(
        ids(events.slice(1_111, 1_111 + 1_234)),
      );
      expect(ids(await readStream(log.store, stream, { direction: 'backwards' }))).toEqual(
        ids(events.toReversed()),
      );
    });

    test('may be left in the middle of reading', async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      const events = project.events(1_200);
      await mustAppend(log.store, stream, events);

      for (let reader = 0; reader < 50; reader += 1) {
        for await (const event of log.store.readStream(stream)) {
          expect(event.id).toBe(events[0]?.id);
          break;
        }
      }

      expect(await readStream(log.store, stream)).toHaveLength(1_200);
    });

    test('is read as another client left it a moment ago', async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      const another = await log.openAnother();

      for (const [index, event] of project.events(20).entries()) {
        const { position } = await mustAppend(index % 2 ? log.store : another, stream, [event]);
        const reader = index % 2 ? another : log.store;
        const [last] = await readStream(reader, stream, { direction: 'backwards', limit: 1 });
        expect(last?.id).toBe(event.id);
        expect(await reader.head()).toBeGreaterThanOrEqual(position);
      }
    });
  });

  describe('an event', () => {
    const data: JsonObject = {
      text: 'Grüße, 日本語, 🛰️, e\u0301, "quoted", back\\slash, \\u0000, {}, NULL',
      control: '\u0000 \u0001 \u001e \u001f \u007f \u0085 \u2028 \ufeff \uffff \r\n\t',
      loneSurrogates: '\ud800 \udc00\ud800',
      numbers: [0, -1, 0.1, 1e21, 1e-7, 1.7976931348623157e308, 5e-324, 9_007_199_254_740_991],
      truths: [true, false, null],
      empty: { object: {}, list: [], text: '' },
      nested: { a: [{ b: [[{ c: null }]] }] },
      order: { z: 1, a: 2, 10: 3, 9: 4 },
      '': 'no key',
      ['__proto__']: { constructor: 'own' },
      'a.b c\u0000"\\': 'awkward key',
    };

    test('comes back exactly as it was written, from each kind of reading', async () => {
      const project = new TestProject();
      const stream = project.stream('device');
      const after = await log.store.head();
      const plain = project.event();
      const events: NewEvent[] = [
        { ...plain, data },
        project.event({}),
        {
          ...project.event({ ordinal: 2 }, 'ContractRetested'),
          metadata: {
            ...plain.metadata,
            actor: 'system:Prüfung 🛰️ \u0000',
            causationId: 'topic-0-4711',
            occurredAt: '2026-01-31T12:34:56.789Z',
          },
        },
      ];

      await mustAppend(log.store, stream, events, 'no-stream');

      const readings: RecordedEvent[][] = [
        await readStream(log.store, stream),
        (await readStream(log.store, stream, { direction: 'backwards' })).toReversed(),
        project.own(await collectBatches(log.store.readAll({ after }), after)),
      ];
      for (const recorded of readings) {
        expect(recorded).toHaveLength(events.length);
        for (const [index, { revision, position, recordedAt, ...rest }] of recorded.entries()) {
          expect(revision).toBe(BigInt(index));
          expect(position).toBe(readings[0]?.[index]?.position);
          expect(recordedAt).toEqual(readings[0]?.[index]?.recordedAt);
          expect(recordedAt).toBeInstanceOf(Date);
          expect(rest).toStrictEqual({ ...events[index], stream });
          // As text: equality does not see the order of keys, nor a `__proto__` that became one.
          expect(JSON.stringify(rest.data)).toBe(JSON.stringify(events[index]?.data));
          expect(JSON.stringify(rest.metadata)).toBe(JSON.stringify(events[index]?.metadata));
        }
      }
    });

    test('is kept in the stream of its own id, however awkward the ids are', async () => {
      const project = new TestProject();
      const awkward: readonly string[] = [
        '',
        ' ',
        'a',
        'a ',
        'A',
        '/',
        'a/b',
        'a%2Fb',
        'a%252Fb',
        '%',
        '_',
        '%25',
        '.',
        '..',
        '-',
        '$',
        '$all',
        '$$a',
        'a.b-c',
        `x-${project.id}.a`,
        '\u0000',
        '\u0000a',
        '%00',
        '\n',
        '\u001e',
        '\u0085',
        '\\',
        '"',
        "'",
        'NULL',
        '{}',
        'a,b',
        'é',
        'e\u0301',
        '🛰️',
        '\ud83d',
        '\ude80',
        '%uD83D',
        '\uffff',
        '\ufeff',
        '🛰'.repeat(256),
        'x'.repeat(256),
        '\u0000'.repeat(256),
        '\ud800'.repeat(256),
        '日'.repeat(256),
      ];
      const streams = [
        ...awkward.map((id) => project.stream(id)),
        ...[
          ['a', 'b/c'],
          ['a/b', 'c'],
          ['a', ''],
          ['', 'a'],
        ].map((parts) => project.stream(...(parts as [string, string]))),
      ];
      const writes = streams.map((stream, ordinal) => ({
        stream,
        events: [project.event({ ordinal })],
        expectedRevision: 'no-stream' as const,
      }));

      const answers = await log.store.append(writes);

      for (const [index, { stream, events }] of writes.entries()) {
        expect(stored(answers[index]).revision).toBe(0n);
        const recorded = await readStream(log.store, stream);
        expect(ids(recorded), `the stream ${stream}`).toEqual(ids(events));
        expect(recorded[0]?.stream).toBe(stream);
        if (index < awkward.length) expect(parseStreamName(stream)?.id).toBe(awkward[index]);
      }
    });
  });

  describe('the whole log', () => {
    test('gives every event once, in order, and ends at the head', async () => {
      const project = new TestProject();
      const after = await log.store.head();
      const streams = await fill(project);

      const batches = await collectBatches(log.store.readAll({ after }), after);

      expect(project.own(batches)).toEqual(await project.recorded(log.store, streams));
      const checkpoint = batches.at(-1)?.position ?? after;
      expect(checkpoint).toBeGreaterThanOrEqual(project.own(batches).at(-1)?.position ?? Infinity);
      expect(checkpoint).toBeLessThanOrEqual(await log.store.head());
    });

    test('gives the rest after any event, and what lies between any two', async () => {
      const project = new TestProject();
      const streams = await fill(project);
      const recorded = await project.recorded(log.store, streams);

      for (const from of [0, 1, 123, recorded.length - 2, recorded.length - 1]) {
        const after = recorded[from]?.position;
        if (after === undefined) throw new Error('too few events');
        const rest = await collectBatches(log.store.readAll({ after }), after);
        expect(ids(project.own(rest))).toEqual(ids(recorded.slice(from + 1)));

        for (const to of [from, from + 1, from + 77, recorded.length - 1]) {
          const until = recorded[to]?.position;
          if (until === undefined) continue;
          const between = await collectBatches(log.store.readAll({ after, until }), after);
          expect(ids(project.own(between)), `from ${from} until ${to}`).toEqual(
            ids(recorded.slice(from + 1, to + 1)),
          );
          expect(between.at(-1)?.position ?? after).toBe(until);
        }
      }
    });

    test('gives the events of the types asked for, and still ends where it was to end', async () => {
      const project = new TestProject();
      const after = await log.store.head();
      const streams = await fill(project);
      const recorded = await project.recorded(log.store, streams);
      const until = recorded.at(-3)?.position ?? after;

      for (const types of [
        ['ContractRetested'],
        ['ContractTested', 'ContractRetested'],
        ['ContractUnheardOf'],
      ]) {
        const matching = recorded.filter(({ type }) => types.includes(type));
        const whole = await collectBatches(log.store.readAll({ after, types }), after, types);
        expect(ids(project.own(whole))).toEqual(ids(matching));
        expect(whole.at(-1)?.position).toBeGreaterThanOrEqual(
          recorded.at(-1)?.position ?? Infinity,
        );

        const part = await collectBatches(log.store.readAll({ after, until, types }), after, types);
        expect(ids(project.own(part))).toEqual(
          ids(matching.filter(({ position }) => position <= until)),
        );
        expect(part.at(-1)?.position).toBe(until);
      }
    });

    test('gives the events of one correlation id, and still ends where it was to end', async () => {
      const project = new TestProject();
      const after = await log.store.head();
      const streams = await fill(project);
      const recorded = await project.recorded(log.store, streams);
      const until = recorded.at(-3)?.position ?? after;
      const correlationId = `contract:${project.id}`;
      const correlated = ['ContractTested', 'ContractRetested', 'ContractTested'].map((type) => {
        const event = project.event({}, type);
        return { ...event, metadata: { ...event.metadata, correlationId } };
      });
      for (const [index, event] of correlated.entries()) {
        const stream = streams[index] ?? project.stream('device');
        await mustAppend(log.store, stream, [project.event(), event, project.event()]);
      }
      const end = await log.store.head();

      const whole = await collectBatches(log.store.readAll({ after, correlationId }), after);
      expect(ids(whole.flatMap(({ events }) => events))).toEqual(ids(correlated));
      expect(whole.at(-1)?.position).toBeGreaterThanOrEqual(end);

      for (const types of [['ContractTested'], ['ContractRetested'], ['ContractUnheardOf']]) {
        const options = { after, until: end, types, correlationId };
        const part = await collectBatches(log.store.readAll(options), after, types);
        expect(ids(part.flatMap(({ events }) => events))).toEqual(
          ids(correlated.filter(({ type }) => types.includes(type))),
        );
        expect(part.at(-1)?.position).toBe(end);
      }

      // One correlation id of the others, from before any of its events.
      const [, other] = recorded;
      const single = { after, until, correlationId: other?.metadata.correlationId ?? '' };
      const found = await collectBatches(log.store.readAll(single), after);
      expect(ids(found.flatMap(({ events }) => events))).toEqual([other?.id]);
      expect(found.at(-1)?.position).toBe(until);
      const none = await collectBatches(log.store.readAll({ after, until, correlationId }), after);
      expect(none.flatMap(({ events }) => events)).toEqual([]);
      expect(none.at(-1)?.position).toBe(until);
    });

    test('gives nothing after the head', async () => {
      const project = new TestProject();
      await mustAppend(log.store, project.stream('device'), project.events(3));
      const after = await log.store.head();

      const batches = await collectBatches(log.store.readAll({ after }), after);

      expect(project.own(batches)).toEqual([]);
    });

    test('may be left in the middle of reading', async () => {
      const project = new TestProject();
      const after = await log.store.head();
      const streams = await fill(project);

      for (let reader = 0; reader < 50; reader += 1) {
        for await (const batch of log.store.readAll({ after })) {
          expect(batch.position).toBeGreaterThan(after);
          break;
        }
      }

      const batches = await collect(log.store.readAll({ after }));
      expect(ids(project.own(batches))).toEqual(ids(await project.recorded(log.store, streams)));
    });

    /** 600 events in 20 streams, every third of another type. */
    async function fill(project: TestProject): Promise<ReturnType<TestProject['stream']>[]> {
      const streams = Array.from({ length: 20 }, (_, ordinal) =>
        project.stream(`device ${ordinal}`),
      );
      for (let round = 0; round < 10; round += 1) {
        await log.store.append(
          streams.map((stream) => ({
            stream,
            events: [...project.events(2), project.event({}, 'ContractRetested')],
            expectedRevision: 'any',
          })),
        );
      }
      return streams;
    }
  });
}

/** What reading a stream of these events should give. */
function asRead(
  events: readonly NewEvent[],
  { from, direction, limit }: ReadStreamOptions,
): NewEvent[] {
  const part =
    direction === 'backwards'
      ? events.slice(0, from === undefined ? undefined : Number(from) + 1).toReversed()
      : events.slice(Number(from ?? 0n));
  return part.slice(0, limit);
}
