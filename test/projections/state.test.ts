import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { CommandContext } from '../../src/commands/core/context.ts';
import { sensorStream, StateCommands } from '../../src/commands/state/commands.ts';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import type { SensorEvent } from '../../src/events/state.ts';
import type { Position, RecordedEvent } from '../../src/event-store/port.ts';
import { PATCHES_PER_KEYFRAME, stateProjection } from '../../src/projections/state/projection.ts';
import { StateQueries } from '../../src/projections/state/queries.ts';
import { canonicalJson, type JsonObject } from '../../src/shared/json.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { mergePatch } from '../../src/shared/merge-patch.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { anyJsonObject } from '../shared/any-json.ts';
import { cut, PastEvents, openByHand, type TablesByHand } from './by-hand.ts';
import { startReadProcess, type ReadProcess } from './read-process.ts';

const logger = createLogger('silent');

let projects = 0;

/** A project of the test's own. */
function newProject(): string {
  projects += 1;
  return `p${projects}`;
}

function patched(sensorId: string, patch: JsonObject): SensorEvent {
  return {
    type: 'SensorPatched',
    data: { sensorId, patch, receivedAt: '2026-01-31T12:00:00.000Z' },
  };
}

function dedupSet(sensorId: string): SensorEvent {
  return { type: 'SensorDedupSet', data: { sensorId, strategy: { strategy: 'none' } } };
}

describe('with tables that are filled by hand', () => {
  const testDatabase = createTestDatabase();
  let queries: StateQueries;
  let tables: TablesByHand;
  let oneByOne: TablesByHand;

  beforeAll(async () => {
    const byHand = await openByHand(testDatabase.url, stateProjection);
    ({ tables, oneByOne } = byHand);
    queries = new StateQueries(byHand.models);
    return byHand.close;
  });

  test('a patch gives a sensor with its state, and a line of history', async () => {
    const projectId = newProject();
    const event = new PastEvents().record(
      sensorStream(projectId, 's1'),
      patched('s1', { a: 1, b: null }),
      { actor: 'k7', occurredAt: '2026-01-30T09:00:00.123Z' },
    );

    await tables.apply([event]);

    expect((await queries.sensor(projectId, 's1', {})).value).toEqual({
      sensorId: 's1',
      revision: 0n,
      state: { a: 1 },
      updatedAt: event.recordedAt,
    });
    expect((await queries.history(projectId, 's1', { limit: 10 }, {})).value).toEqual([
      {
        revision: 0n,
        position: event.position,
        patch: { a: 1, b: null },
        state: { a: 1 },
        occurredAt: new Date('2026-01-30T09:00:00.123Z'),
        recordedAt: event.recordedAt,
        actor: 'k7',
      },
    ]);
  });

  test('a source that gave no time has none, beside one that did', async () => {
    const projectId = newProject();
    const past = new PastEvents();
    const stream = sensorStream(projectId, 's1');
    const occurredAt = '2026-01-30T09:00:00.000Z';
    await tables.apply([
      past.record(stream, patched('s1', { a: 1 })),
      past.record(stream, patched('s1', { a: 2 }), { occurredAt }),
      past.record(stream, patched('s1', { a: 3 })),
    ]);
    await tables.apply([past.record(stream, patched('s1', { a: 4 }))]);

    const { value } = await queries.history(projectId, 's1', { limit: 10 }, {});
    expect(value.map((entry) => entry.occurredAt)).toEqual([
      null,
      null,
      new Date(occurredAt),
      null,
    ]);
  });

  test('a strategy moves the revision and nothing else', async () => {
    const projectId = newProject();
    const past = new PastEvents();
    const stream = sensorStream(projectId, 's1');
    const first = past.record(stream, patched('s1', { a: 1 }));
    await tables.apply([first]);
    await tables.apply([past.record(stream, dedupSet('s1'))]);

    expect((await queries.sensor(projectId, 's1', {})).value).toEqual({
      sensorId: 's1',
      revision: 1n,
      state: { a: 1 },
      updatedAt: first.recordedAt,
    });
    expect((await queries.history(projectId, 's1', { limit: 10 }, {})).value).toHaveLength(1);
  });

  test('a batch of more sensors than are loaded at once gives every patch', async () => {
    const projectId = newProject();
    const past = new PastEvents();
    const batch = Array.from({ length: 2_200 }, (_, index) => {
      const id = `s${index % 1_100}`;
      return past.record(sensorStream(projectId, id), patched(id, { [`n${index}`]: index }));
    });

    await tables.apply(batch);

    expect(await tables.rows('history', projectId, 'position')).toHaveLength(2_200);
    for (const index of [0, 999, 1_000, 1_099]) {
      expect((await queries.sensor(projectId, `s${index}`, {})).value).toMatchObject({
        revision: 1n,
        state: { [`n${index}`]: index, [`n${index + 1_100}`]: index + 1_100 },
      });
    }
  });

  test('a sensor that has a strategy and never was patched is not there', async () => {
    const projectId = newProject();
    const past = new PastEvents();
    const stream = sensorStream(projectId, 's1');
    await tables.apply([past.record(stream, dedupSet('s1'))]);
    expect((await queries.sensor(projectId, 's1', {})).value).toBeUndefined();

    await tables.apply([past.record(stream, patched('s1', { a: 1 }))]);
    expect((await queries.sensor(projectId, 's1', {})).value).toMatchObject({
      revision: 1n,
      state: { a: 1 },
    });
  });

  test('any state as of any position, before its first patch none', async () => {
    const projectId = newProject();
    const past = new PastEvents();
    const events = ['s1', 's2', 's1', 's2', 's1'].map((sensorId, index) =>
      past.record(sensorStream(projectId, sensorId), patched(sensorId, { [`k${index}`]: index })),
    );
    await tables.apply(events);
    const at = async (position: bigint, sensorId: string) =>
      (await queries.sensorAt(projectId, sensorId, position as Position, {})).value;

    expect(await at(0n, 's1')).toBeUndefined();
    expect(await at(1n, 's2')).toBeUndefined();
    expect(await at(1n, 's1')).toMatchObject({ revision: 0n, state: { k0: 0 } });
    expect(await at(2n, 's1')).toMatchObject({ revision: 0n, state: { k0: 0 } });
    expect(await at(3n, 's1')).toEqual({
      sensorId: 's1',
      revision: 1n,
      state: { k0: 0, k2: 2 },
      updatedAt: events[2]?.recordedAt,
    });
    expect(await at(4n, 's2')).toMatchObject({ revision: 1n, state: { k1: 1, k3: 3 } });
    expect(await at(99n, 's1')).toMatchObject({ revision: 2n, state: { k0: 0, k2: 2, k4: 4 } });
  });

  test.each([
    'a/b',
    '../x',
    "'; drop table sensors; --",
    '{"a",NULL}',
    'NULL',
    'é日🛰',
    'tab\tnew\nline\u0001\u001e\u007f',
    '"',
    '\\',
    'constructor',
    '__proto__',
    'x'.repeat(256),
  ])('a sensor may be called %j', async (sensorId) => {
    const projectId = newProject();
    const past = new PastEvents();
    const stream = sensorStream(projectId, sensorId);
    await tables.apply([past.record(stream, patched(sensorId, { a: 1 }))]);
    await tables.apply([past.record(stream, patched(sensorId, { b: 2 }))]);

    expect((await queries.sensor(projectId, sensorId, {})).value).toMatchObject({
      sensorId,
      state: { a: 1, b: 2 },
    });
    expect((await queries.sensors(projectId, { limit: 10 }, {})).value).toHaveLength(1);
  });

  test('text of any kind in a state comes back as it was', async () => {
    const projectId = newProject();
    const patch = {
      text: '\u0000\u001e\ud83d "\\ \n é日🛰',
      ['\u001e']: ['\u001e', ''],
      number: 1e-7,
    };
    const past = new PastEvents();
    await tables.apply(
      ['s1', 's2'].map((id) => past.record(sensorStream(projectId, id), patched(id, patch))),
    );

    for (const sensorId of ['s1', 's2']) {
      expect((await queries.sensor(projectId, sensorId, {})).value?.state).toEqual(patch);
      const { value } = await queries.history(projectId, sensorId, { limit: 1 }, {});
      expect(value).toMatchObject([{ patch, state: patch }]);
    }
  });

  test('sensors are listed by id, in pages, and only those of the project', async () => {
    const [projectId, other] = [newProject(), newProject()];
    const past = new PastEvents();
    const ids = ['b', 'a', 'Z', 'é', 'a/b', 'a b'];
    await tables.apply([
      ...ids.map((id) => past.record(sensorStream(projectId, id), patched(id, { id }))),
      past.record(sensorStream(other, 'a'), patched('a', { other: true })),
    ]);
    const sorted = ['Z', 'a', 'a b', 'a/b', 'b', 'é'];

    const all = await queries.sensors(projectId, { limit: 10 }, {});
    expect(all.value.map(({ sensorId }) => sensorId)).toEqual(sorted);
    expect(all.value.map(({ state }) => state)).toEqual(sorted.map((id) => ({ id })));
    const walked: string[] = [];
    for (;;) {
      const after = walked.at(-1);
      const page = { limit: 2, ...(after !== undefined && { after }) };
      const { value } = await queries.sensors(projectId, page, {});
      if (value.length === 0) break;
      walked.push(...value.map(({ sensorId }) => sensorId));
    }
    expect(walked).toEqual(sorted);
    expect((await queries.sensors(newProject(), { limit: 10 }, {})).value).toEqual([]);
  });

  test('history is walked in pages, newest first, with the whole state in each line', async () => {
    const projectId = newProject();
    const past = new PastEvents();
    const stream = sensorStream(projectId, 's1');
    const count = 3 * PATCHES_PER_KEYFRAME + 5;
    const events = Array.from({ length: count }, (_, index) =>
      past.record(stream, patched('s1', { [`k${index % 7}`]: index })),
    );
    await tables.apply(events);
    const folded = foldedStates(events);

    for (const limit of [1, 7, PATCHES_PER_KEYFRAME, count]) {
      const walked: { revision: bigint; state: JsonObject }[] = [];
      let before: Position | undefined;
      for (;;) {
        const page = { limit, ...(before !== undefined && { before }) };
        const { value } = await queries.history(projectId, 's1', page, {});
        if (value.length === 0) break;
        expect(value.length).toBeLessThanOrEqual(limit);
        walked.push(...value.map(({ revision, state }) => ({ revision, state })));
        before = value.at(-1)?.position;
      }
      expect(walked).toEqual(
        folded.map(({ revision, state }) => ({ revision, state })).toReversed(),
      );
    }
  });

  test('every past state is what a plain fold gives, however the events came in batches', async () => {
    const event = fc.record({
      sensor: fc.constantFrom('s1', 's1', 's1', 's2'),
      patch: fc.option(anyJsonObject, { freq: 12 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { minLength: 1, maxLength: 70, size: 'max' }),
        fc.array(fc.integer({ min: 1, max: 25 }), { minLength: 1, maxLength: 5 }),
        async (happened, sizes) => {
          const projectId = newProject();
          const past = new PastEvents();
          const events = happened.map(({ sensor, patch }) =>
            past.record(
              sensorStream(projectId, sensor),
              patch === null ? dedupSet(sensor) : patched(sensor, patch),
            ),
          );
          for (const batch of cut(events, sizes)) await tables.apply(batch);

          for (const sensor of ['s1', 's2']) {
            const ofSensor = events.filter(({ data }) => data['sensorId'] === sensor);
            const folded = foldedStates(ofSensor);
            const { value } = await queries.history(projectId, sensor, { limit: 100 }, {});
            expect(value.map(asText).toReversed()).toEqual(folded.map(asText));
            const current = await queries.sensor(projectId, sensor, {});
            expect(current.value && canonicalJson(current.value.state)).toBe(
              folded.at(-1) && canonicalJson(folded.at(-1)!.state),
            );
            if (folded.length > 0) {
              expect(current.value?.revision).toBe(ofSensor.at(-1)?.revision);
            }
            for (const past of folded.filter((_, index) => index % 5 === 0)) {
              const found = await queries.sensorAt(projectId, sensor, past.position, {});
              expect(found.value && asText(found.value)).toBe(asText(past));
            }
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  test('the rows are the same whatever the batches', async () => {
    const event = fc.record({
      sensor: fc.constantFrom('s1', 's1', 's2'),
      patch: fc.option(anyJsonObject, { freq: 8 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { minLength: 1, maxLength: 45, size: 'max' }),
        fc.array(fc.integer({ min: 1, max: 25 }), { minLength: 1, maxLength: 5 }),
        async (happened, sizes) => {
          const projectId = newProject();
          const past = new PastEvents();
          const events = happened.map(({ sensor, patch }) =>
            past.record(
              sensorStream(projectId, sensor),
              patch === null ? dedupSet(sensor) : patched(sensor, patch),
            ),
          );
          for (const batch of cut(events, sizes)) await tables.apply(batch);
          for (const batch of cut(events, [1])) await oneByOne.apply(batch);

          for (const [table, orderBy] of [
            ['sensors', 'sensor_id'],
            ['history', 'position'],
          ] as const) {
            expect(await tables.rows(table, projectId, orderBy)).toEqual(
              await oneByOne.rows(table, projectId, orderBy),
            );
          }
        },
      ),
      { numRuns: 25 },
    );
  });
});

interface Folded {
  readonly revision: bigint;
  readonly position: Position;
  readonly state: JsonObject;
}

/** The state after each patch of one sensor, by the plainest fold there is. */
function foldedStates(events: readonly RecordedEvent[]): Folded[] {
  const folded: Folded[] = [];
  let state: JsonObject | undefined;
  for (const { type, data, revision, position } of events) {
    if (type !== 'SensorPatched') continue;
    state = mergePatch(state, data['patch'] as JsonObject);
    folded.push({ revision, position, state });
  }
  return folded;
}

/** As text, because comparisons of objects trip over keys such as `__proto__`. */
function asText({ revision, state }: { revision: bigint; state: JsonObject }): string {
  return `${revision}: ${canonicalJson(state)}`;
}

describe('with a projection that runs', () => {
  const testDatabase = createTestDatabase();
  const context: CommandContext = { projectId: 'acme', actor: 'k1', correlationId: 'r1' };

  beforeAll(async () => {
    const database = openDatabase({ url: testDatabase.url, logger });
    await migrate(database, logger);
    await database.close();
  });

  async function start(): Promise<
    ReadProcess & { readonly commands: StateCommands; readonly queries: StateQueries }
  > {
    const process = await startReadProcess({
      url: testDatabase.url,
      projections: [stateProjection],
    });
    process.engine.start();
    return {
      ...process,
      commands: new StateCommands(process),
      queries: new StateQueries(process.models),
    };
  }

  test('what was just sent is read, with the position that it was recorded at', async () => {
    const { commands, queries } = await start();
    for (let count = 0; count < 20; count += 1) {
      const sent = await commands.patch(
        's1',
        { patch: { count }, receivedAt: new Date() },
        context,
      );

      const { value, position } = await queries.sensor('acme', 's1', {});

      expect(value).toMatchObject({ revision: sent.revision, state: { count } });
      expect(position).toBeGreaterThanOrEqual(sent.position);
    }
  });

  test('a sensor is shown at each revision that it had, also between keyframes and settings', async () => {
    const { commands, queries } = await start();
    const sent: { revision: bigint; position: Position }[] = [];
    for (let n = 0; n < 40; n += 1) {
      sent.push(await commands.patch('s2', { patch: { n }, receivedAt: new Date() }, context));
      if (n % 9 === 0) await commands.setSensorDedup('s2', { strategy: 'none' }, context);
    }

    for (const { revision, position } of sent) {
      const byRevision = await queries.sensorAtRevision('acme', 's2', revision, {});
      expect(byRevision.value).toMatchObject({ revision });
      expect(byRevision.value).toEqual((await queries.sensorAt('acme', 's2', position, {})).value);
    }
    const newest = (await queries.sensor('acme', 's2', {})).value;
    expect(newest).toMatchObject({ state: { n: 39 } });
    const revision = newest?.revision ?? 0n;
    // A setting changes the revision, and nothing else.
    const setting = await queries.sensorAtRevision('acme', 's2', 1n, {});
    expect(setting.value).toMatchObject({ revision: 1n, state: { n: 0 } });
    expect((await queries.sensorAtRevision('acme', 's2', revision, {})).value).toEqual(newest);
    const beyond = await queries.sensorAtRevision('acme', 's2', revision + 1n, {});
    expect(beyond.value).toBeUndefined();
    expect((await queries.sensorAtRevision('acme', 'never', 0n, {})).value).toBeUndefined();
  });

  test('many patches of many sensors are all there', async () => {
    const { commands, queries } = await start();
    await commands.setProjectDedup({ strategy: 'none' }, { ...context, projectId: 'many' });
    await Promise.all(
      Array.from({ length: 600 }, (_, index) =>
        commands.patch(
          `s${index % 12}`,
          { patch: { [`k${index}`]: index }, receivedAt: new Date() },
          { ...context, projectId: 'many' },
        ),
      ),
    );

    const { value } = await queries.sensors('many', { limit: 100 }, {});
    expect(value).toHaveLength(12);
    for (const { sensorId, revision, state } of value) {
      expect(revision).toBe(49n);
      expect(Object.values(state).every((of) => `s${Number(of) % 12}` === sensorId)).toBe(true);
      expect(Object.keys(state)).toHaveLength(50);
    }
  });
});
