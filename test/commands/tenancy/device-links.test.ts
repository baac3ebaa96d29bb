import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  deviceDecider,
  isLinked,
  type DeviceState,
} from '../../../src/commands/tenancy/device-decider.ts';
import { DeviceCommands } from '../../../src/commands/tenancy/device-commands.ts';
import { transferDevice } from '../../../src/commands/tenancy/device-transfer.ts';
import { FoldedStates } from '../../../src/commands/core/folded-states.ts';
import type { CommandContext, CommandIdentity } from '../../../src/commands/core/context.ts';
import { CommandHandler } from '../../../src/commands/core/handler.ts';
import type { LinkedDevices } from '../../../src/commands/core/command-parts.ts';
import { deviceStream } from '../../../src/commands/tenancy/device-decider.ts';
import { projectDecider, projectStream } from '../../../src/commands/tenancy/project-decider.ts';
import { openDatabase, type Database } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrations.ts';
import type { EventStore, OpenEventStore } from '../../../src/event-store/port.ts';
import { openPostgresSnapshotStore } from '../../../src/event-store/postgres/postgres-snapshot-store.ts';
import { LedgerError } from '../../../src/shared/errors.ts';
import { createLogger } from '../../../src/shared/logger.ts';
import { createTestDatabase } from '../../database/test-database.ts';
import { openTestLog } from '../../event-store/test-log.ts';

const logger = createLogger('silent');
const testDatabase = createTestDatabase();
const NOW = new Date('2026-01-31T12:00:00Z');
const NO_LINKS = { devEui: null, simCardId: null, sensorId: null };
const NOBODY: LinkedDevices = () => Promise.resolve([]);

let database: Database;
let log: OpenEventStore;

beforeAll(async () => {
  database = openDatabase({ url: testDatabase.url, logger });
  await migrate(database, logger);
  log = await openTestLog({ databaseUrl: testDatabase.url, database, logger });
});
afterAll(async () => {
  await log.close();
  await database.close();
});

class Died extends Error {}

/** A process of its own, which dies around one of its appends, if told to: before it or after. */
class Process {
  readonly handler: CommandHandler;
  readonly devices: DeviceCommands;

  constructor(
    dies?: { readonly append: number; readonly isStored: boolean },
    linkedDevices = NOBODY,
  ) {
    let appends = 0;
    const store: EventStore = {
      ...methodsOf(log),
      async append(writes) {
        appends += 1;
        if (dies !== undefined && appends > dies.append) throw new Died();
        const isLast = appends === dies?.append;
        if (isLast && !dies.isStored) throw new Died();
        const appended = await log.append(writes);
        if (isLast) throw new Died();
        return appended;
      },
    };
    const snapshots = openPostgresSnapshotStore(database, log.logId);
    this.handler = new CommandHandler(store, new FoldedStates(store, snapshots, logger));
    this.devices = new DeviceCommands({ store, handler: this.handler, linkedDevices });
  }

  async register(projectId: string, deviceId: string, links = NO_LINKS as object): Promise<void> {
    const key = { keyId: `${projectId}-${deviceId}`, secretHash: 'h', issuedAt: NOW.toISOString() };
    const device = {
      deviceId,
      links: { ...NO_LINKS, ...links },
      createdAt: NOW.toISOString(),
      key,
    };
    await this.devices.register(device, contextIn(projectId));
  }

  async retire(projectId: string, deviceId: string): Promise<void> {
    const stream = deviceStream(projectId, deviceId);
    const command = { type: 'retire', deviceId } as const;
    await this.handler.execute(deviceDecider, stream, command, contextIn(projectId));
  }

  /** With a request, as that: it names the transfer, and is recognised when it is repeated. */
  async transfer(deviceId: string, from: string, to: string, request?: Request): Promise<void> {
    names += 1;
    const transferId = request?.id ?? `t${names}`;
    const transfer = { deviceId, from, to, transferId, now: NOW };
    await transferDevice(this, transfer, (ordinal) => ({
      ...contextIn(from),
      ...(request !== undefined && { identity: { ...request, ordinal } }),
    }));
  }

  async device(projectId: string, deviceId: string): Promise<DeviceState> {
    const stream = deviceStream(projectId, deviceId);
    return (await this.handler.peek(deviceDecider, stream, 0)).state;
  }
}

type Request = Pick<CommandIdentity, 'id' | 'reservedAt'>;

async function newRequest(): Promise<Request> {
  return { id: randomUUID(), reservedAt: await log.end() };
}

function methodsOf(store: EventStore): EventStore {
  return {
    logId: store.logId,
    append: (writes) => store.append(writes),
    readStream: (stream, options) => store.readStream(stream, options),
    readAll: (options) => store.readAll(options),
    subscribe: (options) => store.subscribe(options),
    head: () => store.head(),
    end: () => store.end(),
    positionAt: (time) => store.positionAt(time),
  };
}

function contextIn(projectId: string): CommandContext {
  return { projectId, actor: 'a', correlationId: 'c' };
}

let names = 0;

async function newProject(): Promise<string> {
  names += 1;
  const projectId = `p${names}`;
  const owner = {
    memberId: 'o',
    name: 'O',
    key: { keyId: `${projectId}-o`, secretHash: 'h', issuedAt: NOW.toISOString() },
  };
  await new Process().handler.execute(
    projectDecider,
    projectStream(projectId),
    { type: 'create', projectId, name: 'P', createdAt: NOW.toISOString(), owner },
    contextIn(projectId),
  );
  return projectId;
}

/** What was refused, or ended with its process, changes nothing in what must hold. */
async function attempt(work: Promise<void>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!(error instanceof LedgerError) && !(error instanceof Died)) throw error;
  });
}

const death = fc.option(
  fc.record({ append: fc.integer({ min: 1, max: 4 }), isStored: fc.boolean() }),
  { nil: undefined, freq: 2 },
);

describe('a DevEUI, SIM card or sensor', () => {
  test('is linked to one device at most, whoever links it at once, and dies over it', async () => {
    const deviceId = fc.constantFrom('d1', 'd2', 'd3');
    const links = fc.record({
      simCardId: fc.constantFrom(null, 'sim'),
      sensorId: fc.constantFrom(null, 'sensor'),
    });
    const step = fc.record({
      type: fc.constantFrom('register', 'change', 'change', 'change', 'retire'),
      deviceId,
      links,
      death,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { minLength: 2, maxLength: 5 }),
        async (rounds) => {
          const projectId = await newProject();
          await new Process().register(projectId, 'd1', { simCardId: 'sim' });
          await new Process().register(projectId, 'd2');
          for (const round of rounds) {
            await Promise.all(
              round.map(({ type, deviceId: id, links: wanted, death: dies }) => {
                const own = new Process(dies);
                if (type === 'register') return attempt(own.register(projectId, id, wanted));
                if (type === 'retire') return attempt(own.retire(projectId, id));
                const changed = own.devices.change(id, wanted, contextIn(projectId));
                return attempt(changed.then(() => undefined));
              }),
            );
            const devices = await Promise.all(
              ['d1', 'd2', 'd3'].map((id) => new Process().device(projectId, id)),
            );
            expect(linkedTo(devices, 'simCardId', 'sim')).toBeLessThanOrEqual(1);
            expect(linkedTo(devices, 'sensorId', 'sensor')).toBeLessThanOrEqual(1);
          }
        },
      ),
      { numRuns: 12 },
    );
  });

  test('that a process claimed before it died is free for the next', async () => {
    const projectId = await newProject();
    await attempt(new Process({ append: 1, isStored: true }).register(projectId, 'd1', SIM));
    await new Process().register(projectId, 'd2', SIM);
    await expect(new Process().register(projectId, 'd1', SIM)).rejects.toMatchObject({
      code: 'link-taken',
      conflicting: { kind: 'device', id: 'd2' },
    });
  });

  test('is refused where a device has it from before there were claims', async () => {
    const projectId = await newProject();
    const { handler } = new Process();
    const key = { keyId: `${projectId}-k`, secretHash: 'h', issuedAt: NOW.toISOString() };
    const old = { deviceId: 'old', links: { ...NO_LINKS, ...SIM }, createdAt: NOW.toISOString() };
    await handler.execute(
      deviceDecider,
      deviceStream(projectId, 'old'),
      { type: 'register', ...old, key },
      contextIn(projectId),
    );
    const process = new Process(undefined, () => Promise.resolve(['old']));
    await expect(process.register(projectId, 'new', SIM)).rejects.toMatchObject({
      code: 'link-taken',
      conflicting: { kind: 'device', id: 'old' },
    });
    await process.devices.change('old', { sensorId: 's' }, contextIn(projectId));
    await process.retire(projectId, 'old');
    await process.register(projectId, 'new', SIM);
  });
});

const SIM = { simCardId: 'sim' };

function linkedTo(
  devices: readonly DeviceState[],
  kind: 'simCardId' | 'sensorId',
  value: string,
): number {
  return devices.filter((device) => isLinked(device, kind, value)).length;
}

describe('a device that is transferred', () => {
  test('is in one project at most, and in one once all is repeated, whatever dies', async () => {
    const step = fc.record({
      type: fc.constantFrom('transfer', 'transfer', 'transfer', 'retire', 'register'),
      from: fc.integer({ min: 0, max: 2 }),
      to: fc.integer({ min: 0, max: 2 }),
      death,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(step, { minLength: 1, maxLength: 2 }), { minLength: 3, maxLength: 8 }),
        async (rounds) => {
          const projects = [await newProject(), await newProject(), await newProject()];
          await new Process().register(projects[0] ?? '', 'd', SIM);
          // Another device that may stand in its way.
          await new Process().register(projects[1] ?? '', 'other', SIM);
          for (const round of rounds) {
            await Promise.all(
              round.map(({ type, from, to, death: dies }) => {
                const own = new Process(dies);
                const [project = '', target = ''] = [projects[from], projects[to]];
                if (type === 'transfer') return attempt(own.transfer('d', project, target));
                if (type === 'retire') return attempt(own.retire(project, 'other'));
                return attempt(own.register(project, 'other', SIM));
              }),
            );
          }
          const states = (): Promise<DeviceState[]> =>
            Promise.all(projects.map((project) => new Process().device(project, 'd')));
          for (const [index, state] of (await states()).entries()) {
            if (state.status !== 'leaving') continue;
            await attempt(new Process().transfer('d', projects[index] ?? '', state.to));
          }
          const statuses = (await states()).map(({ status }) => status);
          expect(statuses.filter((status) => status === 'active')).toHaveLength(1);
          expect(statuses).not.toContain('leaving');
        },
      ),
      { numRuns: 15 },
    );
  });

  test('half-way is not received again when it has continued, or was retired there', async () => {
    for (const end of ['transferred', 'retired'] as const) {
      const [a, b, c] = [await newProject(), await newProject(), await newProject()];
      await new Process().register(a, 'd');
      // The intent and the reception are stored, its leaving is not.
      await attempt(new Process({ append: 2, isStored: true }).transfer('d', a, b));
      expect(await new Process().device(a, 'd')).toMatchObject({ status: 'leaving' });
      if (end === 'transferred') await new Process().transfer('d', b, c);
      else await new Process().retire(b, 'd');

      await new Process().transfer('d', a, b);
      expect(await new Process().device(a, 'd')).toMatchObject({ status: 'transferred' });
      expect(await new Process().device(b, 'd')).toMatchObject({ status: end });
    }
  });

  test('has a key revoked while it leaves, in the project that it goes to as well', async () => {
    const [a, b] = [await newProject(), await newProject()];
    await new Process().register(a, 'd');
    await attempt(new Process({ append: 2, isStored: true }).transfer('d', a, b));
    const { handler } = new Process();
    const keyId = `${a}-d`;
    await handler.execute(
      deviceDecider,
      deviceStream(a, 'd'),
      { type: 'revoke-key', deviceId: 'd', keyId },
      contextIn(a),
    );
    await new Process().transfer('d', a, b);
    expect(await new Process().device(b, 'd')).toMatchObject({
      keys: { [keyId]: { isRevoked: true } },
    });
  });

  test('stays where a device of the other project has its SIM card', async () => {
    const [a, b] = [await newProject(), await newProject()];
    await new Process().register(a, 'd', SIM);
    await new Process().register(b, 'other', SIM);
    await expect(new Process().transfer('d', a, b)).rejects.toMatchObject({ code: 'link-taken' });
    expect(await new Process().device(a, 'd')).toMatchObject({ status: 'active' });
    await new Process().retire(b, 'other');
    await new Process().transfer('d', a, b);
    expect(await new Process().device(b, 'd')).toMatchObject({ status: 'active' });
  });

  test('that was refused is refused again when the request is repeated', async () => {
    const [a, b] = [await newProject(), await newProject()];
    await new Process().register(a, 'd', SIM);
    await new Process().register(b, 'other', SIM);
    const request = await newRequest();
    await expect(new Process().transfer('d', a, b, request)).rejects.toMatchObject({
      code: 'link-taken',
    });
    await new Process().retire(b, 'other');
    await expect(new Process().transfer('d', a, b, request)).rejects.toMatchObject({
      code: 'link-taken',
    });
    expect(await new Process().device(a, 'd')).toMatchObject({ status: 'active' });
    await new Process().transfer('d', a, b, await newRequest());
  });

  test('is transferred still when the request is repeated after it has come back', async () => {
    const [a, b] = [await newProject(), await newProject()];
    await new Process().register(a, 'd');
    const request = await newRequest();
    await new Process().transfer('d', a, b, request);
    await new Process().transfer('d', b, a);
    await new Process().transfer('d', a, b, request);
    expect(await new Process().device(a, 'd')).toMatchObject({ status: 'active' });
  });

  test('is refused to whoever joined a transfer that was refused meanwhile', async () => {
    const [a, b] = [await newProject(), await newProject()];
    await new Process().register(a, 'd', SIM);
    await new Process().register(b, 'other', SIM);
    await attempt(new Process({ append: 1, isStored: true }).transfer('d', a, b));
    const joining = new Process();
    const { handler } = joining;
    const execute = handler.execute.bind(handler);
    let joins = true;
    // It finds the device leaving; then the other run, which began the transfer, ends it.
    handler.execute = async (...command) => {
      const handled = await execute(...command);
      if (joins) {
        joins = false;
        await attempt(new Process().transfer('d', a, b));
      }
      return handled;
    };
    await expect(joining.transfer('d', a, b)).rejects.toMatchObject({ code: 'link-taken' });
    expect(await new Process().device(a, 'd')).toMatchObject({ status: 'active' });
  });
});
