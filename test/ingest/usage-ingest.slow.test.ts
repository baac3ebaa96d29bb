// @module-tag slow
import { randomBytes } from 'node:crypto';
import { expect, onTestFinished, test, vi } from 'vitest';
import { usageTraffic, type TrafficRecord } from '../../src/cli/usage-traffic.ts';
import { prepareWriteProcesses } from '../commands/core/write-process.ts';
import { describeWithKafka } from '../kafka/with-kafka.ts';
import { createTopic, startIngest, sums } from './kafka-fixture.ts';
import { EVENTUALLY, takenBy, untilTaken, usageEvents } from './taken.ts';

vi.setConfig({ testTimeout: 240_000 });

const record = (changes: object = {}): string =>
  JSON.stringify({
    'sim-card-id': '89440001',
    'bytes-used': '1024',
    date: '2022-02-18T00:00:00Z',
    ...changes,
  });

describeWithKafka('the ingest of usage', () => {
  const startProcess = prepareWriteProcesses();
  /** The id of a project that no other test writes to. */
  const ownProject = (): string => `p-${randomBytes(5).toString('hex')}`;
  const eventsOf = async (
    process: Awaited<ReturnType<typeof startProcess>>,
    projectId: string,
    type: 'UsageRecorded' | 'UsageRejected' = 'UsageRecorded',
  ) =>
    (await usageEvents(process.store, type)).filter(
      ({ metadata }) => metadata.projectId === projectId,
    );

  test('records what messages say, in each of the forms that they have', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic();
    const event = { specversion: '1.0', id: 'e1', source: '/meters', type: 'usage' };
    await topic.send([
      { value: record() },
      { value: record({ 'bytes-used': 2, id: 'one' }) },
      {
        value: JSON.stringify({
          sim_card_id: '89440002',
          bytes_used: 3,
          date: '2022-02-18T01:00:00+01:00',
        }),
      },
      { value: JSON.stringify({ ...event, data: JSON.parse(record({ 'bytes-used': 4 })) }) },
      {
        value: record({ 'bytes-used': 5 }),
        headers: { ce_specversion: '1.0', ce_id: 'e2', ce_source: '/meters', ce_type: 'usage' },
      },
    ]);
    const ingest = startIngest(process, topic, { projectId });
    await untilTaken(5, ingest);

    const recorded = await eventsOf(process, projectId);
    const data = recorded
      .map((event) => event.data)
      .toSorted((a, b) => Number(a['bytesUsed']) - Number(b['bytesUsed']));
    const usedAt = '2022-02-18T00:00:00.000Z';
    expect(data).toEqual([
      { simCardId: '89440001', bytesUsed: 2, usedAt },
      { simCardId: '89440002', bytesUsed: 3, usedAt },
      { simCardId: '89440001', bytesUsed: 4, usedAt },
      { simCardId: '89440001', bytesUsed: 5, usedAt },
      { simCardId: '89440001', bytesUsed: 1024, usedAt },
    ]);
    for (const { metadata } of recorded) {
      expect(metadata).toMatchObject({ actor: 'system:kafka', occurredAt: usedAt });
      expect(metadata.correlationId).toMatch(new RegExp(`^kafka:${topic.name}/[0-2]/\\d+$`));
    }
    expect(ingest.status.status).toBe('consuming');
  });

  test('passes on what it cannot use, unchanged and with why and from where, and continues', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic({ partitions: 1 });
    const bad = [
      { value: null, key: 'tombstone' },
      { value: '' },
      { value: Buffer.from([0xff, 0xfe, 0x00, 0x80]), key: Buffer.from([0xff]) },
      { value: '{"sim-card-id": ' },
      { value: '\u0000nothing' },
      { value: '"\\u0000\\ud800"' },
      { value: record({ date: '2020-02-00T00:00:00Z' }) },
      { value: record({ 'bytes-used': -1 }), headers: { trace: 'abc', many: ['a', 'b'] } },
      { value: record({ 'sim-card-id': '\u0000' }) },
      { value: record(), headers: { ce_specversion: '1.0', ce_id: 'x' } },
      { value: `"${'x'.repeat(1_048_300)}"` },
    ];
    for (const message of bad) await topic.send([message]);
    await topic.send([{ value: record() }]);
    const ingest = startIngest(process, topic, { projectId });
    await untilTaken(bad.length + 1, ingest);

    const letters = await topic.deadLetters(bad.length);
    expect(letters).toHaveLength(bad.length);
    for (const [index, { key, value, headers }] of letters.entries()) {
      const sent = bad[index];
      const bytes = (given: string | Buffer | null | undefined) =>
        given === undefined || given === null ? null : Buffer.from(given as string);
      expect(value).toEqual(bytes(sent?.value));
      expect(key).toEqual(bytes(sent?.key));
      const text = Object.fromEntries(
        Object.entries(headers ?? {}).map(([name, header]) => [name, String(header)]),
      );
      expect(text).toMatchObject({
        'fleetledger-reason': index < 5 ? 'malformed-json' : 'validation-failed',
        'fleetledger-detail': expect.stringMatching(/./),
        'fleetledger-topic': topic.name,
        'fleetledger-partition': '0',
        'fleetledger-offset': String(index),
      });
      if (sent?.headers && 'trace' in sent.headers) {
        expect(text).toMatchObject({ trace: 'abc', many: 'a,b' });
      }
    }
    const rejected = await eventsOf(process, projectId, 'UsageRejected');
    expect(rejected.map(({ data }) => (data['origin'] as { offset: string }).offset)).toEqual(
      bad.map((_, index) => String(index)),
    );
    expect(await eventsOf(process, projectId)).toHaveLength(1);
    expect(ingest.counts).toEqual({
      recorded: 1,
      duplicates: 0,
      deadLetters: { 'malformed-json': 5, 'validation-failed': 6, 'id-reused': 0 },
    });
  });

  test('passes on what the dead-letter topic does not take as it is: compressed, or without its value', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic({ partitions: 1, maxDeadLetterBytes: 5_000 });
    const [compressible, random] = ['x'.repeat(10_000), randomBytes(10_000)];
    for (const value of [compressible, random]) {
      await topic.send([{ key: 'k', value }]);
      const ingest = startIngest(process, topic, { projectId });
      await untilTaken(1, ingest);
      await ingest.stop();
    }
    const letters = await topic.deadLetters(2);
    expect(letters.map(({ value }) => value?.toString() ?? null)).toEqual([compressible, null]);
    for (const [index, { key, headers }] of letters.entries()) {
      expect(key?.toString()).toBe('k');
      expect(String(headers?.['fleetledger-offset'])).toBe(String(index));
      expect(headers?.['fleetledger-left-out']?.toString()).toBe(index === 0 ? undefined : 'value');
    }
  });

  test('counts an id once, and passes on what has the id of another record', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic({ partitions: 1 });
    const other = record({ id: 'mine', 'bytes-used': 1 });
    await topic.send([
      { value: record({ id: 'mine' }) },
      { value: record({ id: 'mine', 'bytes-used': 1024 }) },
      { value: other },
      { value: record() },
      { value: record() },
    ]);
    const ingest = startIngest(process, topic, { projectId });
    await untilTaken(5, ingest);

    expect(ingest.counts).toMatchObject({ recorded: 3, duplicates: 1 });
    const [letter] = await topic.deadLetters(1);
    expect(letter?.value?.toString()).toBe(other);
    expect(String(letter?.headers?.['fleetledger-reason'])).toBe('id-reused');
    expect(await eventsOf(process, projectId)).toHaveLength(3);
    expect(await eventsOf(process, projectId, 'UsageRejected')).toMatchObject([
      { data: { reason: 'id-reused' } },
    ]);
  });

  test('counts nothing twice when its group is reset to the beginning', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic();
    const records = trafficOf(1, { badShare: 0.05 });
    await topic.send(records.map(({ body }) => ({ value: body })));
    const first = startIngest(process, topic, { projectId });
    await untilTaken(records.length, first);
    await first.stop();
    await topic.resetGroup();
    const second = startIngest(process, topic, { projectId });
    await untilTaken(records.length, second);

    const good = records.filter(({ isBad }) => !isBad);
    expect(second.counts).toMatchObject({ recorded: 0, duplicates: good.length });
    const recorded = await eventsOf(process, projectId);
    expect(recorded).toHaveLength(good.length);
    expect(sums(recorded)).toEqual(sumsOf(records));
    const rejected = await eventsOf(process, projectId, 'UsageRejected');
    expect(rejected).toHaveLength(records.length - good.length);
  });

  test.each(['before it is stored', 'after it was stored'] as const)(
    'tries again when the store goes away %s, and commits nothing until it is back',
    async (when) => {
      const [process, projectId] = [await startProcess(), ownProject()];
      const topic = await createTopic({ partitions: 1 });
      for (let failure = 0; failure < 5; failure += 1) process.store.failNextAppend('usage', when);
      await topic.send([{ value: record() }, { value: record() }]);
      const ingest = startIngest(process, topic, { projectId });
      await vi.waitFor(
        () => expect(ingest.status).toMatchObject({ status: 'failing' }),
        EVENTUALLY,
      );
      expect(ingest.status).toMatchObject({
        reason: expect.stringContaining('database is unavailable'),
      });
      expect(await topic.committed()).toEqual(new Map());

      await untilTaken(2, ingest);
      expect(ingest.status).toEqual({ status: 'consuming', partitions: [0] });
      await vi.waitFor(
        async () => expect(await topic.committed()).toEqual(new Map([[0, '2']])),
        EVENTUALLY,
      );
      expect(await eventsOf(process, projectId)).toHaveLength(2);
    },
  );

  test('stays in its group while the store takes longer than a session may', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic({ partitions: 1 });
    const goOn = process.store.holdAppends('usage');
    onTestFinished(goOn);
    const ingest = startIngest(process, topic, { projectId });
    await topic.send([{ value: record() }]);
    await process.store.holdsOne();
    const heldAtMs = performance.now();
    // A second member would get the partition, if the first were taken for dead.
    const other = startIngest(await startProcess(), topic, { projectId });
    await vi.waitFor(
      () => expect(performance.now() - heldAtMs).toBeGreaterThan(12_000),
      EVENTUALLY,
    );
    expect(takenBy(other)).toBe(0);
    goOn();
    await untilTaken(1, ingest, other);
    expect(await eventsOf(process, projectId)).toHaveLength(1);
  });

  test('stores and commits what it is at when it is stopped, and no more', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic({ partitions: 1 });
    const goOn = process.store.holdAppends('usage');
    const messages = trafficOf(2).map(({ body }) => ({ value: body }));
    await topic.send(messages);
    const ingest = startIngest(process, topic, { projectId });
    await process.store.holdsOne();
    const stopped = ingest.stop();
    goOn();
    await stopped;

    expect(await topic.committed()).toEqual(new Map([[0, '1000']]));
    expect(await eventsOf(process, projectId)).toHaveLength(1_000);
    expect(ingest.status).toEqual({ status: 'stopped' });
  });

  test('shares the partitions with another process, and takes them over when that is gone', async () => {
    const projectId = ownProject();
    const [one, other] = [await startProcess(), await startProcess()];
    const topic = await createTopic({ partitions: 4 });
    const ingests = [
      startIngest(one, topic, { projectId }),
      startIngest(other, topic, { projectId }),
    ];
    const partitions = () =>
      ingests.map(({ status }) => (status.status === 'consuming' ? status.partitions : []));
    await vi.waitFor(() => {
      const [mine = [], theirs = []] = partitions();
      expect([mine.length, theirs.length]).toEqual([2, 2]);
      expect(new Set([...mine, ...theirs])).toEqual(new Set([0, 1, 2, 3]));
    }, EVENTUALLY);
    await topic.send(trafficOf(1).map(({ body }) => ({ value: body })));
    await untilTaken(1_440, ...ingests);
    for (const ingest of ingests) expect(takenBy(ingest)).toBeGreaterThan(0);

    await ingests[0]?.stop();
    await vi.waitFor(() => expect(partitions()[1]).toHaveLength(4), EVENTUALLY);
    await topic.send([{ value: record() }]);
    await vi.waitFor(
      async () => expect(await eventsOf(other, projectId)).toHaveLength(1_441),
      EVENTUALLY,
    );
  });

  test('takes 28 days from day 00 on: each record once, a dead letter for each of day 00, and twice is twice', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic({ partitions: 6 });
    const records = [
      ...usageTraffic({ sims: 50, days: 28, startDay: '2020-02-00', badShare: 0, seed: 7 }),
    ];
    expect(records).toHaveLength(40_320);
    const ingest = startIngest(process, topic, { projectId });
    for (const round of [1, 2]) {
      for (let start = 0; start < records.length; start += 5_000) {
        const values = records.slice(start, start + 5_000).map(({ body }) => ({ value: body }));
        await topic.send(values);
      }
      await untilTaken(round * records.length, ingest);
      expect(ingest.counts).toEqual({
        recorded: round * 38_880,
        duplicates: 0,
        deadLetters: { 'malformed-json': 0, 'validation-failed': round * 1_440, 'id-reused': 0 },
      });
      const recorded = await eventsOf(process, projectId);
      expect(recorded).toHaveLength(round * 38_880);
      expect(await eventsOf(process, projectId, 'UsageRejected')).toHaveLength(round * 1_440);
      const once = sumsOf(records);
      expect(sums(recorded)).toEqual(
        new Map(Array.from(once, ([simCardId, bytes]) => [simCardId, bytes * round])),
      );
    }
    expect(await topic.deadLetters(2_880)).toHaveLength(2_880);
  });
});

function trafficOf(days: number, { badShare = 0 } = {}): TrafficRecord[] {
  return [...usageTraffic({ sims: 20, days, startDay: '2022-02-18', badShare, seed: days })];
}

/** As the producer knows them. */
function sumsOf(records: readonly TrafficRecord[]): Map<string, number> {
  const bytes = new Map<string, number>();
  for (const { simCardId, bytesUsed, isBad } of records) {
    if (!isBad) bytes.set(simCardId, (bytes.get(simCardId) ?? 0) + bytesUsed);
  }
  return bytes;
}
