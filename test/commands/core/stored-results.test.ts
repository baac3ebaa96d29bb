import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { StoredResults, type ItemOutcome } from '../../../src/commands/core/stored-results.ts';
import { streamName, type StreamName } from '../../../src/event-store/stream-name.ts';
import { closedGate } from '../../gate.ts';
import { context, prepareWriteProcesses, type WriteProcess } from './write-process.ts';

const start = prepareWriteProcesses();

function newStream(): StreamName {
  return streamName('request', 'acme', randomBytes(16).toString('hex'));
}

async function reserved(process: WriteProcess): Promise<StreamName> {
  const stream = newStream();
  const keep = new StoredResults(process.store, stream, { origin: context, isFound: true });
  // The stream of a request begins with its reservation; any event will do here.
  await process.store.append([
    {
      stream,
      expectedRevision: 'no-stream',
      events: [
        {
          id: crypto.randomUUID(),
          type: 'RequestReserved',
          data: { requestDigest: 'd', route: 'r', reservedAt: '2026-01-31T12:00:00.000Z' },
          metadata: { projectId: 'acme', actor: 'k1', correlationId: 'r1', schemaVersion: 1 },
        },
      ],
    },
  ]);
  expect(await keep.nextPartSize()).toBeUndefined();
  return stream;
}

function resultsOf({ store }: WriteProcess, stream: StreamName, isFound = true): StoredResults {
  return new StoredResults(store, stream, { origin: context, isFound });
}

const final = (result: string): ItemOutcome => ({ result, isFinal: true });
const failed: ItemOutcome = { result: 'failed', isFinal: false };

function texts(outcomes: readonly ItemOutcome[]): unknown[] {
  return outcomes.map(({ result }) => result);
}

test('only the items that have no final result are run again', async () => {
  const process = await start();
  const stream = await reserved(process);
  const first = await resultsOf(process, stream, false).next({ count: 4 }, async () => [
    final('a'),
    failed,
    final('c'),
    failed,
  ]);
  expect(texts(first)).toEqual(['a', 'failed', 'c', 'failed']);

  const second = await resultsOf(process, stream).next({ count: 4 }, async (places) => {
    expect(places).toEqual([1, 3]);
    return [final('b'), failed];
  });
  expect(texts(second)).toEqual(['a', 'b', 'c', 'failed']);

  const third = resultsOf(process, stream);
  expect(texts(await third.next({ count: 4 }, async () => [final('d')]))).toEqual([
    'a',
    'b',
    'c',
    'd',
  ]);
  expect(texts(await third.next({ count: 1 }, async () => [final('e')]))).toEqual(['e']);
  const fourth = await resultsOf(process, stream).next({ count: 5 }, () => {
    throw new Error('nothing is to be run');
  });
  expect(texts(fourth)).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test('copies that run at once in several processes give out one result for each item', async () => {
  const processes = [await start(), await start(), await start()];
  const stream = await reserved(processes[0]!);
  let running = 0;
  const allRun = closedGate();
  const answers = await Promise.all(
    processes.map(async (process, copy) => {
      const results = resultsOf(process, stream, copy > 0);
      const parts: unknown[] = [];
      for (let part = 0; part < 5; part += 1) {
        const outcomes = await results.next(
          { count: 3, digest: `part ${part}` },
          async (places) => {
            running += 1;
            if (running === 3) allRun.open();
            if (part === 0) await allRun.passed;
            return places.map((place) => final(`${part}.${place} of copy ${copy}`));
          },
        );
        parts.push(...texts(outcomes));
      }
      return parts;
    }),
  );
  expect(answers[1]).toEqual(answers[0]);
  expect(answers[2]).toEqual(answers[0]);
  const replayed = resultsOf(await start(), stream);
  const again: unknown[] = [];
  for (let part = 0; part < 5; part += 1) {
    expect(await replayed.nextPartSize()).toBe(3);
    again.push(...texts(await replayed.next({ count: 3, digest: `part ${part}` }, async () => [])));
  }
  expect(again).toEqual(answers[0]);
});

test('results of any size are kept in events that an append takes', async () => {
  const process = await start();
  const stream = await reserved(process);
  const large = [...Array(40).keys()].map((n) => final(`${n} "${'x€'.repeat(50_000)}`));
  const first = await resultsOf(process, stream, false).next({ count: 40 }, async () => large);
  const again = await resultsOf(process, stream).next({ count: 40 }, async () => []);
  expect(texts(again)).toEqual(texts(first));
  for await (const { data, metadata } of process.store.readStream(stream)) {
    expect(Buffer.byteLength(JSON.stringify([data, metadata]))).toBeLessThan(1024 * 1024);
  }
});

test('large results can be read when a copy has kept others between their parts', async () => {
  const [process, other] = [await start(), await start()];
  const stream = await reserved(process);
  const copy = resultsOf(other, stream);
  const append = process.store.append.bind(process.store);
  let parts = 0;
  process.store.append = async (writes) => {
    if (writes[0]?.events[0]?.type === 'RequestBodyPartKept') parts += 1;
    if (parts === 2) await copy.next({ count: 2 }, async () => [final('b of the copy')]);
    return append(writes);
  };
  const large = [...Array(4).keys()].map((n) => final(`${n} ${'x'.repeat(100_000)}`));
  const results = resultsOf(process, stream);
  await results.next({ count: 2 }, async () => [final('a'), failed]);
  expect(texts(await results.next({ count: 4 }, async () => large))).toEqual(texts(large));

  const again = resultsOf(other, stream);
  const first = await again.next({ count: 2 }, async () => []);
  expect(texts(first)).toEqual(['a', 'b of the copy']);
  expect(texts(await again.next({ count: 4 }, async () => []))).toEqual(texts(large));
});

test('results of a copy that is far ahead are read again when their part comes, and not held', async () => {
  const [process, other] = [await start(), await start()];
  const stream = await reserved(process);
  const COUNT = 4_000;
  const PARTS = 8;
  const ahead = resultsOf(other, stream);
  const behind = resultsOf(process, stream);
  const text = 'x'.repeat(100);
  const run = async (places: readonly number[]) =>
    places.map((place) => (place === 0 ? failed : final(text)));
  const part = (number: number) => ({ count: COUNT, digest: `part ${number}` });
  const numbers = [...Array(PARTS).keys()];
  const readAt: number[] = [];
  for (const number of numbers) {
    const before = process.store.eventsRead;
    expect(await behind.nextPartSize()).toBe(number === 0 ? undefined : COUNT);
    const outcomes = await behind.next(part(number), async (places) => {
      if (number === 0) for (const one of numbers) await ahead.next(part(one), run);
      else expect(places).toEqual([0]);
      return places.map(() => final(`${number}`));
    });
    if (process.store.eventsRead > before) readAt.push(number);
    const expected = Array.from({ length: COUNT }, (_, place) =>
      place === 0 ? `${number}` : text,
    );
    expect(texts(outcomes)).toEqual(expected);
  }
  // 10,000 results are held ahead, which are two parts and a half.
  expect(readAt).toEqual([0, 3, 6]);
});

test('a part with another digest is refused, also when it was never answered', async () => {
  const process = await start();
  const stream = await reserved(process);
  const dying = resultsOf(process, stream, false).next({ count: 2, digest: 'one' }, () =>
    Promise.reject(new Error('it died')),
  );
  await expect(dying).rejects.toThrow('it died');
  const other = resultsOf(process, stream).next({ count: 2, digest: 'other' }, async () => []);
  await expect(other).rejects.toMatchObject({ code: 'idempotency-key-reused' });
});
