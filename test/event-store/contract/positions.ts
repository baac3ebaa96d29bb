import { expect, test } from 'vitest';
import { BEGINNING, type RecordedEvent } from '../../../src/event-store/port.ts';
import type { LogUnderTest } from '../contract.ts';
import { collectBatches } from './follower.ts';
import { ids, mustAppend, readStream, stored, TestProject } from './test-project.ts';

export function positions(log: LogUnderTest): void {
  test('the log has one id, whichever client is asked', async () => {
    const another = await log.openAnother();
    expect(log.store.logId).toMatch(/^[0-9a-f]{8}$/);
    expect(another.logId).toBe(log.store.logId);
  });

  test('every event lies after the beginning, and the head at or after every event', async () => {
    const project = new TestProject();
    const another = await log.openAnother();
    for (let count = 0; count < 10; count += 1) {
      const before = await another.head();
      const { position } = await mustAppend(
        log.store,
        project.stream(String(count)),
        project.events(2),
      );
      const [first] = await readStream(another, project.stream(String(count)));
      expect(first?.position).toBeGreaterThan(before);
      expect(first?.position).toBeGreaterThan(BEGINNING);
      expect(position).toBeGreaterThan(first?.position ?? Infinity);
      expect(await log.store.head()).toBeGreaterThanOrEqual(position);
      expect(await another.head()).toBeGreaterThanOrEqual(position);
    }
  });

  test('no position that was given lies beyond the end', async () => {
    const project = new TestProject();
    const another = await log.openAnother();
    for (let count = 0; count < 2; count += 1) {
      await mustAppend(log.store, project.stream(String(count)), project.events(1));
      const batches = await collectBatches(log.store.readAll({ after: BEGINNING }), BEGINNING);
      const given = [await log.store.head(), batches.at(-1)?.position ?? Infinity];
      const end = await another.end();
      for (const position of given) expect(end).toBeGreaterThanOrEqual(position);
    }
  });

  test('all of the log lies after the beginning', async () => {
    const project = new TestProject();
    const events = project.events(3, 'ContractBegun');
    await mustAppend(log.store, project.stream('device'), events);
    const types = ['ContractBegun'];

    const batches = await collectBatches(
      log.store.readAll({ after: BEGINNING, types }),
      BEGINNING,
      types,
    );

    expect(ids(project.own(batches))).toEqual(ids(events));
    expect(batches.at(-1)?.position).toBeGreaterThanOrEqual(
      project.own(batches).at(-1)?.position ?? Infinity,
    );
  });

  test('a later append has a later position, in whichever stream and from whichever client', async () => {
    const project = new TestProject();
    const clients = [log.store, await log.openAnother()];
    let last = await log.store.head();
    for (let count = 0; count < 40; count += 1) {
      const client = clients[count % 2] ?? log.store;
      const { position } = await mustAppend(
        client,
        project.stream(String(count % 3)),
        project.events(1),
      );
      expect(position).toBeGreaterThan(last);
      last = position;
    }
  });

  test('times of recording never go back along the log', async () => {
    const project = new TestProject();
    const after = await log.store.head();
    const clients = [log.store, await log.openAnother()];
    await Promise.all(
      Array.from({ length: 16 }, async (_, writer) => {
        for (let count = 0; count < 10; count += 1) {
          const client = clients[writer % 2] ?? log.store;
          await mustAppend(client, project.stream(String(writer)), project.events(2));
        }
      }),
    );

    const recorded = project.own(await collectBatches(log.store.readAll({ after }), after));

    expect(recorded).toHaveLength(320);
    const times = recorded.map(({ recordedAt }) => recordedAt.getTime());
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  test('the position at a time is that of the last event recorded then or before', async () => {
    const project = new TestProject();
    const stream = project.stream('device');
    const recorded = await appendThroughMilliseconds(project, 4);

    const first = recorded[0];
    if (first === undefined) throw new Error('nothing was recorded');
    const times = recorded.flatMap(({ recordedAt }) => [
      recordedAt.getTime() - 1,
      recordedAt.getTime(),
      recordedAt.getTime() + 1,
    ]);
    for (const time of [...times, Date.parse('2100-01-01T00:00:00Z')]) {
      const position = await log.store.positionAt(new Date(time));
      // Events that are not ours may lie between ours, so the position is known within bounds only.
      const then = recorded.filter(({ recordedAt }) => recordedAt.getTime() <= time);
      const later = recorded[then.length];
      if (then.length > 0)
        expect(position).toBeGreaterThanOrEqual(then.at(-1)?.position ?? Infinity);
      if (later) expect(position).toBeLessThan(later.position);
      expect(position).toBeLessThanOrEqual(await log.store.head());
    }
    expect(await log.store.positionAt(new Date(0))).toBeLessThan(first.position);
    expect(await log.store.positionAt(new Date(0))).toBeGreaterThanOrEqual(BEGINNING);

    /** Appends until the log's own clock has shown so many different times. */
    async function appendThroughMilliseconds(
      of: TestProject,
      count: number,
    ): Promise<RecordedEvent[]> {
      const seen = new Set<number>();
      while (seen.size < count) {
        await mustAppend(log.store, stream, of.events(2));
        const [last] = await readStream(log.store, stream, { direction: 'backwards', limit: 1 });
        if (last) seen.add(last.recordedAt.getTime());
      }
      return readStream(log.store, stream);
    }
  });

  test('a read event has the position that its append was answered with', async () => {
    const project = new TestProject();
    const writes = Array.from({ length: 50 }, (_, ordinal) => ({
      stream: project.stream(String(ordinal)),
      events: project.events((ordinal % 3) + 1),
      expectedRevision: 'any' as const,
    }));

    const answers = await log.store.append(writes);

    for (const [index, { stream }] of writes.entries()) {
      const [last] = await readStream(log.store, stream, { direction: 'backwards', limit: 1 });
      expect(last).toMatchObject({
        revision: stored(answers[index]).revision,
        position: stored(answers[index]).position,
      });
    }
  });
}
