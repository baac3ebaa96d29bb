import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Position, RecordedEvent } from '../../../src/event-store/port.ts';
import { streamName } from '../../../src/event-store/stream-name.ts';
import { entryOf, type Entry } from '../../../src/followers/entry.ts';
import { messagesOf, type MessageScope } from '../../../src/followers/webhooks/messages.ts';

const scope: MessageScope = {
  projectId: 'acme',
  webhookId: 'w1',
  startSeries: 0,
  formatPosition: (position) => `aaaaaaaa-${position}`,
};

function entry(n: number, text: string): Entry {
  const recorded: RecordedEvent = {
    id: `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`,
    type: 'SensorPatched',
    stream: streamName('sensor', 'acme', 's'),
    revision: BigInt(n),
    position: BigInt(n + 1) as Position,
    recordedAt: new Date(0),
    data: { sensorId: 's', patch: { n, text } },
    metadata: { projectId: 'acme', actor: 'k1', correlationId: 'r', schemaVersion: 1 },
  };
  const found = entryOf(recorded);
  if (found === undefined) throw new Error('the event is not published');
  return found;
}

const sizes = fc.array(fc.oneof(fc.nat(200), fc.constant(100_000), fc.constant(300_000)), {
  maxLength: 250,
});

test('messages hold all events in their order, within their limits', () => {
  fc.assert(
    fc.property(sizes, (lengths) => {
      const entries = lengths.map((length, n) => entry(n, 'x'.repeat(length)));
      const messages = [...messagesOf(entries, scope)];
      const events = messages.map(({ body }) => JSON.parse(body) as { position: string }[]);
      expect(events.flat().map(({ position }) => position)).toEqual(
        entries.map(({ position }) => `aaaaaaaa-${position}`),
      );
      for (const [index, { body, events: count, lastPosition }] of messages.entries()) {
        expect(count).toBe(events[index]?.length);
        expect(count).toBeLessThanOrEqual(100);
        expect(`aaaaaaaa-${lastPosition}`).toBe(events[index]?.at(-1)?.position);
        if (count > 1) expect(Buffer.byteLength(body)).toBeLessThanOrEqual(256 * 1024 + 200);
      }
    }),
    { numRuns: 30 },
  );
});

test('the id of a message is that of its webhook, its start and its events', () => {
  const entries = [entry(0, 'a'), entry(1, 'b')];
  const idOf = (these: readonly Entry[], changes: Partial<MessageScope> = {}): string =>
    [...messagesOf(these, { ...scope, ...changes })].map(({ id }) => id).join();
  expect(idOf(entries)).toBe(idOf(entries));
  const ids = [
    idOf(entries),
    idOf(entries.slice(0, 1)),
    idOf(entries, { webhookId: 'w2' }),
    idOf(entries, { startSeries: 1 }),
  ];
  expect(new Set(ids).size).toBe(ids.length);
});
