import fc from 'fast-check';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { CommandContext } from '../../src/commands/core/context.ts';
import { sensorStream } from '../../src/commands/state/commands.ts';
import { deviceDecider, type DeviceCommand } from '../../src/commands/tenancy/device-decider.ts';
import { deviceStream } from '../../src/commands/tenancy/device-decider.ts';
import { INSTALLATION_PROJECT } from '../../src/event-store/stream-name.ts';
import {
  installationDecider,
  installationStream,
} from '../../src/commands/tenancy/installation-decider.ts';
import { projectDecider, projectStream } from '../../src/commands/tenancy/project-decider.ts';
import type { NewKey } from '../../src/commands/tenancy/key-set.ts';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import type { DeviceEvent, DeviceLinks, ProjectEvent, Role } from '../../src/events/tenancy.ts';
import type { Position, RecordedEvent } from '../../src/event-store/port.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import { firmwareProjection } from '../../src/projections/firmware/projection.ts';
import { stateProjection } from '../../src/projections/state/projection.ts';
import { KeyDirectory } from '../../src/projections/tenancy/key-directory/key-directory.ts';
import { KeyQueries, type KeyHolder } from '../../src/projections/tenancy/queries/key-holders.ts';
import { tenancyProjection } from '../../src/projections/tenancy/projection.ts';
import { TenancyQueries, type DeviceView } from '../../src/projections/tenancy/queries.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { cut, PastEvents, openByHand, type TablesByHand } from './by-hand.ts';
import { startReadProcess, type ReadProcess } from './read-process.ts';
import {
  createOf,
  deviceCommand,
  happened,
  NOON,
  projectCommand,
  unnamedKey,
  withKeysOf,
} from './tenancy-histories.ts';

const logger = createLogger('silent');
const NO_LINKS: DeviceLinks = { devEui: null, simCardId: null, sensorId: null };

let projects = 0;

/** A project of the test's own. */
function newProject(): string {
  projects += 1;
  return `p${projects}`;
}

/** Keys are known by their id alone, whatever their project: each test names its own. */
function key(projectId: string, name: string): NewKey {
  return { keyId: `${projectId}-${name}`, secretHash: `hash of ${name}`, issuedAt: NOON };
}

const registered = (deviceId: string, links: Partial<DeviceLinks> = {}): DeviceEvent => ({
  type: 'DeviceRegistered',
  data: { deviceId, ...NO_LINKS, ...links, createdAt: NOON },
});
const changed = (deviceId: string, links: Partial<DeviceLinks>): DeviceEvent => ({
  type: 'DeviceChanged',
  data: { deviceId, ...NO_LINKS, ...links },
});
const retired = (deviceId: string): DeviceEvent => ({
  type: 'DeviceRetired',
  data: { deviceId },
});
const created = (projectId: string, name = 'Acme'): ProjectEvent => ({
  type: 'ProjectCreated',
  data: { projectId, name, createdAt: NOON },
});
const added = (memberId: string, role: Role): ProjectEvent => ({
  type: 'MemberAdded',
  data: { memberId, name: `name of ${memberId}`, role },
});
const removed = (memberId: string): ProjectEvent => ({ type: 'MemberRemoved', data: { memberId } });
const issued = (kind: 'mem' | 'dev', holder: string, newKey: NewKey): ProjectEvent => ({
  type: 'KeyIssued',
  data: { kind, holder, ...newKey },
});
const revoked = (kind: 'mem' | 'dev', holder: string, { keyId }: NewKey): ProjectEvent => ({
  type: 'KeyRevoked',
  data: { kind, holder, keyId },
});

describe('with tables that are filled by hand', () => {
  const testDatabase = createTestDatabase();
  let queries: TenancyQueries;
  let keys: KeyQueries;
  let tables: TablesByHand;
  let oneByOne: TablesByHand;
  let states: TablesByHand;

  beforeAll(async () => {
    const byHand = await openByHand(
      testDatabase.url,
      tenancyProjection,
      stateProjection,
      firmwareProjection,
    );
    ({ tables, oneByOne } = byHand);
    queries = new TenancyQueries(byHand.models);
    keys = new KeyQueries(byHand.models);
    [states] = byHand.others;
    return byHand.close;
  });

  async function keyHolder(keyId: string): Promise<KeyHolder | undefined> {
    const [row] = (await keys.keyRows([{ keyId, address: undefined }])).value;
    return row?.key && { ...row.key, ...row.status };
  }

  async function device(
    projectId: string,
    deviceId: string,
    asOf?: Position,
  ): Promise<DeviceView | undefined> {
    const page = { only: deviceId, limit: 1, ...(asOf !== undefined && { asOf }) };
    return (await queries.devices(projectId, page, {})).value[0];
  }

  describe('devices', () => {
    test('a registered device has its links', async () => {
      const projectId = newProject();
      const links = { devEui: 'FFA45722AA738240', simCardId: '894', sensorId: 's1' };
      await tables.apply([
        new PastEvents().record(deviceStream(projectId, 'd1'), registered('d1', links)),
      ]);

      expect(await device(projectId, 'd1')).toEqual({
        deviceId: 'd1',
        ...links,
        createdAt: new Date(NOON),
        retiredAt: null,
        lastSeenAt: null,
        revision: 0n,
      });
    });

    test('a device is as it was at any position, and is not there before', async () => {
      const projectId = newProject();
      const past = new PastEvents();
      const happening: [string, DeviceEvent][] = [
        ['other', registered('other')],
        ['d1', registered('d1', { simCardId: '1' })],
        ['d1', changed('d1', { simCardId: '2' })],
        ['other', changed('other', { simCardId: '9' })],
        ['d1', changed('d1', {})],
        ['d1', retired('d1')],
      ];
      const events = happening.map(([id, event]) =>
        past.record(deviceStream(projectId, id), event),
      );
      await tables.apply(events);
      const simCards: unknown[] = [];
      for (const { position } of events) {
        const found = await device(projectId, 'd1', position);
        simCards.push(found && [found.simCardId, found.retiredAt, found.revision]);
      }

      expect(simCards).toEqual([
        undefined,
        ['1', null, 0n],
        ['2', null, 1n],
        ['2', null, 1n],
        [null, null, 2n],
        [null, events[5]?.recordedAt, 3n],
      ]);
      expect(await device(projectId, 'd1')).toEqual(
        await device(projectId, 'd1', events[5]?.position),
      );
    });

    test('a key moves the revision of its device, in a batch of its own or with others', async () => {
      const projectId = newProject();
      const past = new PastEvents();
      const stream = deviceStream(projectId, 'd1');
      const [k1, k2] = [key(projectId, 'k1'), key(projectId, 'k2')];
      await tables.apply([
        past.record(stream, registered('d1', { simCardId: '1' })),
        past.record(stream, issued('dev', 'd1', k1)),
      ]);
      expect(await device(projectId, 'd1')).toMatchObject({ simCardId: '1', revision: 1n });

      await tables.apply([past.record(stream, issued('dev', 'd1', k2))]);
      expect(await device(projectId, 'd1')).toMatchObject({ simCardId: '1', revision: 2n });

      await tables.apply([past.record(stream, revoked('dev', 'd1', k1))]);
      expect(await device(projectId, 'd1')).toMatchObject({ simCardId: '1', revision: 3n });
    });

    test('a key of a device of another project, or of a member, moves nothing', async () => {
      const [projectId, other] = [newProject(), newProject()];
      const past = new PastEvents();
      await tables.apply([
        past.record(deviceStream(projectId, 'd1'), registered('d1')),
        past.record(deviceStream(other, 'd1'), registered('d1')),
        past.record(deviceStream(other, 'd1'), issued('dev', 'd1', key(other, 'k1'))),
        past.record(projectStream(projectId), issued('mem', 'd1', key(projectId, 'k1'))),
      ]);

      expect(await device(projectId, 'd1')).toMatchObject({ revision: 0n });
      expect(await device(other, 'd1')).toMatchObject({ revision: 1n });
    });

    test('lists are by id, in pages, by what is asked for, and of one project', async () => {
      const [projectId, other] = [newProject(), newProject()];
      const past = new PastEvents();
      const record = (deviceId: string, event: DeviceEvent): RecordedEvent =>
        past.record(deviceStream(projectId, deviceId), event);
      await tables.apply([
        record('b', registered('b', { devEui: 'FFA45722AA738240' })),
        record('a', registered('a')),
        record('c', registered('c', { devEui: 'FFA45722AA738241' })),
        record('c', retired('c')),
        record('d', registered('d')),
        record('d', retired('d')),
        past.record(deviceStream(other, 'a'), registered('a')),
      ]);
      const ids = async (page: Partial<Parameters<TenancyQueries['devices']>[1]>) =>
        (await queries.devices(projectId, { limit: 10, ...page }, {})).value.map(
          ({ deviceId }) => deviceId,
        );

      expect(await ids({})).toEqual(['a', 'b', 'c', 'd']);
      expect(await ids({ limit: 2 })).toEqual(['a', 'b']);
      expect(await ids({ limit: 2, after: 'b' })).toEqual(['c', 'd']);
      expect(await ids({ after: 'd' })).toEqual([]);
      expect(await ids({ hasDevEui: true })).toEqual(['b', 'c']);
      expect(await ids({ hasDevEui: false })).toEqual(['a', 'd']);
      expect(await ids({ isRetired: true })).toEqual(['c', 'd']);
      expect(await ids({ isRetired: false, hasDevEui: true })).toEqual(['b']);
      expect(await ids({ isRetired: true, asOf: 4n as Position })).toEqual(['c']);
    });

    test('a device was last seen when its sensor was, also if that is another device’s', async () => {
      const projectId = newProject();
      const past = new PastEvents();
      await tables.apply([
        past.record(deviceStream(projectId, 'd1'), registered('d1', { sensorId: 's1' })),
        past.record(deviceStream(projectId, 'd2'), registered('d2', { sensorId: 's2' })),
        past.record(deviceStream(projectId, 'd3'), registered('d3')),
      ]);
      const seen = past.record(sensorStream(projectId, 's1'), {
        type: 'SensorPatched',
        data: { sensorId: 's1', patch: {}, receivedAt: NOON },
      });
      await states.apply([seen]);
      const second = 1_000;
      const before = new Date(seen.recordedAt.getTime() - second);
      const after = new Date(seen.recordedAt.getTime() + second);
      const list = async (filter: { seenAfter?: Date; seenBefore?: Date }) =>
        (await queries.devices(projectId, { limit: 10, ...filter }, {})).value.map(
          ({ deviceId, lastSeenAt }) => [deviceId, lastSeenAt],
        );

      expect(await list({})).toEqual([
        ['d1', seen.recordedAt],
        ['d2', null],
        ['d3', null],
      ]);
      expect(await list({ seenAfter: before })).toEqual([['d1', seen.recordedAt]]);
      expect(await list({ seenBefore: after })).toEqual([['d1', seen.recordedAt]]);
      expect(await list({ seenAfter: after })).toEqual([]);
    });

    test('several changes in one batch give the rows that they give one by one', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(deviceCommand, { minLength: 1, maxLength: 25, size: 'max' }),
          fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
          async (commands, sizes) => {
            const projectId = newProject();
            const events = happened(deviceDecider, commands, ({ deviceId }) =>
              deviceStream(projectId, deviceId),
            ).map((event) => withKeysOf(projectId, event));

            for (const batch of cut(events, sizes)) await tables.apply(batch);
            for (const batch of cut(events, [1])) await oneByOne.apply(batch);

            await expectSameRows(projectId);
          },
        ),
        { numRuns: 40 },
      );
    });

    test('as of each position a device is what a plain fold gives', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(deviceCommand, { minLength: 1, maxLength: 25, size: 'max' }),
          fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
          async (commands, sizes) => {
            const projectId = newProject();
            const events = happened(deviceDecider, commands, ({ deviceId }) =>
              deviceStream(projectId, deviceId),
            ).map((event) => withKeysOf(projectId, event));
            for (const batch of cut(events, sizes)) await tables.apply(batch);

            const states = new Map<StreamName, typeof deviceDecider.initialState>();
            for (const event of events) {
              const { stream } = event;
              const state = states.get(stream) ?? deviceDecider.initialState;
              states.set(stream, deviceDecider.evolve(state, event as unknown as DeviceEvent));
              for (const deviceId of ['d1', 'd2']) {
                const folded = states.get(deviceStream(projectId, deviceId));
                const found = await device(projectId, deviceId, event.position);
                const expected =
                  folded === undefined || folded.status === 'missing'
                    ? undefined
                    : { ...folded.links, isRetired: folded.status === 'retired' };
                expect(found && shownOf(found)).toEqual(expected);
              }
            }
            for (const deviceId of ['d1', 'd2']) {
              const last = events.findLast(
                ({ stream }) => stream === deviceStream(projectId, deviceId),
              );
              expect((await device(projectId, deviceId))?.revision).toBe(last?.revision);
            }
          },
        ),
        { numRuns: 15 },
      );
    });
  });

  describe('projects and members', () => {
    test('projects are listed by id, in pages, or one alone', async () => {
      const [one, other] = [newProject(), newProject()].toSorted() as [string, string];
      const past = new PastEvents();
      await tables.apply(
        [other, one].map((id) => past.record(projectStream(id), created(id, `name of ${id}`))),
      );
      const list = async (page: Partial<Parameters<TenancyQueries['projects']>[0]>) =>
        (await queries.projects({ limit: 1_000, ...page }, {})).value;

      expect(await list({ only: one })).toEqual([
        { projectId: one, name: `name of ${one}`, createdAt: new Date(NOON) },
      ]);
      const ids = (await list({})).map(({ projectId }) => projectId);
      expect(ids.filter((id) => id === one || id === other)).toEqual([one, other]);
      expect((await list({ after: one, limit: 1 }))[0]?.projectId).toBe(ids[ids.indexOf(one) + 1]);
      expect(await list({ only: one, after: one })).toEqual([]);
    });

    test('members are listed in the order they came, now and as of then', async () => {
      const [projectId, other] = [newProject(), newProject()];
      const past = new PastEvents();
      const events = [
        added('zoe', 'owner'),
        added('bob', 'viewer'),
        removed('bob'),
        added('ann', 'member'),
      ].map((event) => past.record(projectStream(projectId), event));
      const elsewhere = past.record(projectStream(other), added('bob', 'owner'));
      await tables.apply([...events, elsewhere]);
      const list = async (page: Partial<Parameters<TenancyQueries['members']>[1]>) =>
        (await queries.members(projectId, { limit: 10, ...page }, {})).value;
      const ids = async (page: Partial<Parameters<TenancyQueries['members']>[1]>) =>
        (await list(page)).map(({ memberId }) => memberId);

      expect(await list({ limit: 1 })).toEqual([
        {
          memberId: 'zoe',
          name: 'name of zoe',
          role: 'owner',
          position: events[0]?.position,
        },
      ]);
      expect(await ids({})).toEqual(['zoe', 'ann']);
      expect(await ids({ after: 1n as Position })).toEqual(['ann']);
      expect(await ids({ asOf: 1n as Position })).toEqual(['zoe']);
      expect(await ids({ asOf: 2n as Position })).toEqual(['zoe', 'bob']);
      expect(await ids({ asOf: 3n as Position })).toEqual(['zoe']);
      expect(await ids({ asOf: 4n as Position })).toEqual(['zoe', 'ann']);
    });

    test('several changes in one batch give the rows that they give one by one', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(projectCommand, { minLength: 1, maxLength: 25, size: 'max' }),
          fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
          async (commands, sizes) => {
            const projectId = newProject();
            const events = happened(projectDecider, [createOf(projectId), ...commands], () =>
              projectStream(projectId),
            ).map((event) => withKeysOf(projectId, event));

            for (const batch of cut(events, sizes)) await tables.apply(batch);
            for (const batch of cut(events, [1])) await oneByOne.apply(batch);

            await expectSameRows(projectId);
          },
        ),
        { numRuns: 40 },
      );
    });
  });

  describe('keys', () => {
    test('all are listed in the order of their issue, those of devices too', async () => {
      const projectId = newProject();
      const past = new PastEvents();
      const [mem, dev] = [key(projectId, 'mem'), key(projectId, 'dev')];
      const events = [
        past.record(deviceStream(projectId, 'd1'), issued('dev', 'd1', dev)),
        past.record(projectStream(projectId), issued('mem', 'ada', mem)),
        past.record(deviceStream(projectId, 'd1'), revoked('dev', 'd1', dev)),
      ];
      await tables.apply(events);

      const { value } = await queries.keys(projectId, { limit: 10 }, {});
      expect(value).toEqual([
        {
          keyId: dev.keyId,
          kind: 'dev',
          holder: 'd1',
          issuedAt: new Date(NOON),
          revokedAt: events[2]?.recordedAt,
          position: events[0]?.position,
        },
        {
          keyId: mem.keyId,
          kind: 'mem',
          holder: 'ada',
          issuedAt: new Date(NOON),
          revokedAt: null,
          position: events[1]?.position,
        },
      ]);
      const after = await queries.keys(projectId, { limit: 10, after: 1n as Position }, {});
      expect(after.value.map(({ keyId }) => keyId)).toEqual([mem.keyId]);
    });

    test('the key of a member is worth the role of that member, as long as it is one', async () => {
      const projectId = newProject();
      const past = new PastEvents();
      const stream = projectStream(projectId);
      const memberKey = key(projectId, 'k1');
      await tables.apply([
        past.record(stream, added('bob', 'viewer')),
        past.record(stream, issued('mem', 'bob', memberKey)),
      ]);
      const holder = {
        keyId: memberKey.keyId,
        kind: 'mem',
        projectId,
        holder: 'bob',
        secretHash: memberKey.secretHash,
        isRevoked: false,
        role: 'viewer',
        isActiveDevice: false,
        sensorId: null,
      };
      expect(await keyHolder(memberKey.keyId)).toEqual(holder);

      await tables.apply([past.record(stream, removed('bob'))]);
      expect(await keyHolder(memberKey.keyId)).toEqual({ ...holder, role: null });

      await tables.apply([past.record(stream, revoked('mem', 'bob', memberKey))]);
      expect(await keyHolder(memberKey.keyId)).toEqual({
        ...holder,
        role: null,
        isRevoked: true,
      });
    });

    test('the key of a device speaks for its sensor, until the device is retired', async () => {
      const projectId = newProject();
      const past = new PastEvents();
      const stream = deviceStream(projectId, 'd1');
      const deviceKey = key(projectId, 'k1');
      await tables.apply([
        past.record(stream, registered('d1', { sensorId: 's1' })),
        past.record(stream, issued('dev', 'd1', deviceKey)),
      ]);
      expect(await keyHolder(deviceKey.keyId)).toMatchObject({
        kind: 'dev',
        holder: 'd1',
        role: null,
        isActiveDevice: true,
        sensorId: 's1',
      });

      await tables.apply([past.record(stream, changed('d1', { sensorId: 's2' }))]);
      expect(await keyHolder(deviceKey.keyId)).toMatchObject({
        isActiveDevice: true,
        sensorId: 's2',
      });

      await tables.apply([past.record(stream, retired('d1'))]);
      expect(await keyHolder(deviceKey.keyId)).toMatchObject({
        isActiveDevice: false,
        isRevoked: false,
      });
    });

    test('the key of a device is not that of a member of the same id', async () => {
      const projectId = newProject();
      const past = new PastEvents();
      const deviceKey = key(projectId, 'k1');
      await tables.apply([
        past.record(projectStream(projectId), added('same', 'owner')),
        past.record(deviceStream(projectId, 'same'), registered('same')),
        past.record(deviceStream(projectId, 'same'), issued('dev', 'same', deviceKey)),
      ]);

      expect(await keyHolder(deviceKey.keyId)).toMatchObject({
        role: null,
        isActiveDevice: true,
      });
      expect(await keyHolder('unknown')).toBeUndefined();
    });
  });

  async function expectSameRows(projectId: string): Promise<void> {
    for (const [table, orderBy] of [
      ['projects', 'project_id'],
      ['members', 'member_id'],
      ['devices', 'device_id, from_position'],
      ['keys', 'key_id, position'],
    ] as const) {
      expect({ [table]: await tables.rows(table, projectId, orderBy) }).toEqual({
        [table]: await oneByOne.rows(table, projectId, orderBy),
      });
    }
  }
});

function shownOf({ devEui, simCardId, sensorId, retiredAt }: DeviceView) {
  return { devEui, simCardId, sensorId, isRetired: retiredAt !== null };
}

describe('with a projection that runs', () => {
  const testDatabase = createTestDatabase();

  async function startDirectory({
    models,
    store,
  }: Pick<ReadProcess, 'models' | 'store'>): Promise<KeyDirectory> {
    const directory = new KeyDirectory(new KeyQueries(models), store);
    const stopping = new AbortController();
    const { ended } = await directory.follow(stopping.signal);
    onTestFinished(async () => {
      stopping.abort();
      await ended;
    });
    return directory;
  }

  beforeAll(async () => {
    const database = openDatabase({ url: testDatabase.url, logger });
    await migrate(database, logger);
    await database.close();
  });

  test('a project, its members, devices and keys are read as soon as they are there', async () => {
    const { handler, engine, models, store } = await startReadProcess({
      url: testDatabase.url,
      projections: [tenancyProjection, stateProjection, firmwareProjection],
    });
    engine.start();
    const queries = new TenancyQueries(models);
    const directory = await startDirectory({ models, store });
    const context: CommandContext = { projectId: 'acme', actor: 'adm', correlationId: 'r1' };
    const device = (command: DeviceCommand) =>
      handler.execute(deviceDecider, deviceStream('acme', 'd1'), command, context);

    const made = await handler.execute(
      projectDecider,
      projectStream('acme'),
      createOf('acme'),
      context,
    );
    const found = await queries.projects({ limit: 10 }, {});
    expect(found.value).toMatchObject([{ projectId: 'acme', name: 'Acme' }]);
    expect(found.position).toBeGreaterThanOrEqual(made.position);
    expect(await directory.find('zoe')).toMatchObject({ holder: 'zoe', role: 'owner' });

    await device({
      type: 'register',
      deviceId: 'd1',
      links: NO_LINKS,
      createdAt: NOON,
      key: unnamedKey('d1-key'),
    });
    expect(await directory.find('d1-key')).toMatchObject({ isActiveDevice: true });
    const before = await device({ type: 'change', deviceId: 'd1', links: { sensorId: 's1' } });
    const gone = await device({ type: 'retire', deviceId: 'd1' });
    const { value } = await queries.devices('acme', { limit: 10 }, {});
    expect(value).toMatchObject([{ deviceId: 'd1', sensorId: 's1', revision: gone.revision }]);
    expect(value[0]?.retiredAt).toBeInstanceOf(Date);
    const then = await queries.devices('acme', { limit: 10, asOf: before.position }, {});
    expect(then.value).toMatchObject([{ deviceId: 'd1', retiredAt: null }]);
    await device({ type: 'revoke-key', deviceId: 'd1', keyId: 'd1-key' });
    expect(await directory.find('d1-key')).toMatchObject({ isRevoked: true });
  });

  test('the key of the installation is in no project', async () => {
    const { handler, engine, models, store } = await startReadProcess({
      url: testDatabase.url,
      projections: [tenancyProjection, stateProjection, firmwareProjection],
    });
    engine.start();
    await handler.execute(
      installationDecider,
      installationStream(),
      { type: 'issue-first-key', key: unnamedKey('admin') },
      { projectId: INSTALLATION_PROJECT, actor: 'system:start', correlationId: 'r1' },
    );

    expect(await (await startDirectory({ models, store })).find('admin')).toMatchObject({
      kind: 'adm',
      projectId: INSTALLATION_PROJECT,
      isRevoked: false,
      role: null,
      isActiveDevice: false,
    });
  });
});
