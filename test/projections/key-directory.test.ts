import fc from 'fast-check';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { DeviceCommands } from '../../src/commands/tenancy/device-commands.ts';
import { transferDevice } from '../../src/commands/tenancy/device-transfer.ts';
import type { CommandContext } from '../../src/commands/core/context.ts';
import { deviceDecider, type DeviceCommand } from '../../src/commands/tenancy/device-decider.ts';
import { deviceStream } from '../../src/commands/tenancy/device-decider.ts';
import {
  projectDecider,
  projectStream,
  type ProjectCommand,
} from '../../src/commands/tenancy/project-decider.ts';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import type { EventStore, Position, RecordedEvent } from '../../src/event-store/port.ts';
import { KeyDirectory } from '../../src/projections/tenancy/key-directory/key-directory.ts';
import { KeyQueries, type KeyHolder } from '../../src/projections/tenancy/queries/key-holders.ts';
import { tenancyProjection } from '../../src/projections/tenancy/projection.ts';
import { LedgerError } from '../../src/shared/errors.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { startReadProcess, type ReadProcess } from './read-process.ts';
import { createOf, deviceCommand, projectCommand, unnamedKey } from './tenancy-histories.ts';

const testDatabase = createTestDatabase();
const NO_LINKS = { devEui: null, simCardId: null, sensorId: null };
const NOW = new Date('2026-01-31T12:00:00Z');

let projects = 0;

beforeAll(async () => {
  const logger = createLogger('silent');
  const database = openDatabase({ url: testDatabase.url, logger });
  await migrate(database, logger);
  await database.close();
});

/** A ledger whose tables of `tenancy` are moved on by the test alone, event by event. */
class Ledger {
  readonly process: ReadProcess;
  readonly queries: KeyQueries;
  readonly #schema: string;

  constructor(process: ReadProcess) {
    this.process = process;
    this.queries = new KeyQueries(process.models);
    this.#schema = process.engine.active.of('tenancy').schema;
  }

  static async start(): Promise<Ledger> {
    const ledger = new Ledger(
      await startReadProcess({ url: testDatabase.url, projections: [tenancyProjection] }),
    );
    await ledger.applyAll(await ledger.unapplied());
    return ledger;
  }

  async unapplied(): Promise<RecordedEvent[]> {
    const { store } = this.process;
    const [row] = await this.process.database.query<{ position: Position }>({
      text: `select position from ${this.#schema}.checkpoint`,
    });
    const events: RecordedEvent[] = [];
    const types = tenancyProjection.handles;
    for await (const batch of store.readAll({ after: row?.position ?? (0n as Position), types }))
      events.push(...batch.events);
    return events;
  }

  async applyAll(events: readonly RecordedEvent[]): Promise<void> {
    await this.process.database.transaction(async (tx) => {
      await tx.query({ text: `set local search_path to ${this.#schema}` });
      await tenancyProjection.apply(events, tx);
      const position = events.at(-1)?.position;
      if (position !== undefined)
        await tx.query({ text: 'update checkpoint set position = $1', values: [position] });
    });
  }

  context(projectId: string): CommandContext {
    return { projectId, actor: 'a', correlationId: 'c' };
  }

  async project(projectId: string, command: ProjectCommand): Promise<void> {
    const { handler } = this.process;
    const stream = projectStream(projectId);
    await handler.execute(projectDecider, stream, command, this.context(projectId));
  }

  async device(projectId: string, command: DeviceCommand): Promise<void> {
    const { handler } = this.process;
    const stream = deviceStream(projectId, command.deviceId);
    await handler.execute(deviceDecider, stream, command, this.context(projectId));
  }

  async newProject(): Promise<string> {
    projects += 1;
    const projectId = `p${projects}`;
    const owner = { memberId: 'zoe', name: 'Zoe', key: unnamedKey(`${projectId}-zoe`) };
    const create = createOf(projectId) as Extract<ProjectCommand, { type: 'create' }>;
    await this.project(projectId, { ...create, owner });
    return projectId;
  }

  /** `appends`: whether this process is the one that appends. */
  async directory(
    parts: {
      queries?: KeyQueries;
      store?: EventStore;
      appends?: boolean;
      maxChanges?: number;
    } = {},
  ): Promise<KeyDirectory> {
    const { queries = this.queries, store = this.process.store, maxChanges } = parts;
    const directory = new KeyDirectory(queries, store, maxChanges);
    if (parts.appends === true) {
      this.process.store.onAppended((write, position) => directory.appended(write, position));
    }
    const stopping = new AbortController();
    const { ended } = await directory.follow(stopping.signal);
    onTestFinished(async () => {
      stopping.abort();
      await ended;
    });
    return directory;
  }
}

/** Queries that are counted. */
function counted(queries: KeyQueries): { queries: KeyQueries; lookups: string[][] } {
  const lookups: string[][] = [];
  const keyRows: KeyQueries['keyRows'] = (asked) => {
    if (asked.length > 0) lookups.push(asked.map(({ keyId }) => keyId));
    return queries.keyRows(asked);
  };
  return { queries: { keyRows } as KeyQueries, lookups };
}

const transfer = fc.record({ type: fc.constant('transfer' as const), deviceId: fc.constant('d1') });

describe('keys are found as the log has them', () => {
  test('wherever the tables stand in it, and by every process', async () => {
    const ledger = await Ledger.start();
    const { handler, store } = ledger.process;
    const devices = new DeviceCommands({
      store,
      handler,
      linkedDevices: () => Promise.resolve([]),
    });

    async function run(
      projectId: string,
      command: DeviceCommand | ProjectCommand | { readonly type: 'transfer'; deviceId: string },
      to: string,
    ): Promise<void> {
      if (command.type === 'transfer') {
        const { deviceId } = command;
        const named = { deviceId, from: projectId, to, transferId: 't', now: NOW };
        await transferDevice({ handler, devices }, named, () => ledger.context(projectId));
      } else if ('deviceId' in command) await ledger.device(projectId, command);
      else await ledger.project(projectId, command);
    }

    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(deviceCommand, projectCommand, transfer), {
          minLength: 5,
          maxLength: 20,
          size: 'max',
        }),
        async (commands) => {
          const [projectId, to] = [await ledger.newProject(), await ledger.newProject()];
          const keyIds = new Set(['unknown', `${projectId}-zoe`]);
          const writer = await ledger.directory({ appends: true });
          const another = await ledger.directory();
          for (const command of commands) {
            const named = withKeyOf(projectId, command);
            if ('key' in named) keyIds.add((named.key as { keyId: string }).keyId);
            for (const keyId of keyIds) await writer.find(keyId);
            await run(projectId, named, to).catch((error: unknown) => {
              if (!(error instanceof LedgerError)) throw error;
            });
          }

          const found: [string, (KeyHolder | undefined)[]][] = [];
          const note = async (name: string, directory: KeyDirectory): Promise<void> => {
            found.push([name, await Promise.all([...keyIds].map((id) => directory.find(id)))]);
          };
          await note('the process that wrote it', writer);
          await note('another process', another);
          const events = await ledger.unapplied();
          for (const event of events) {
            if (event.revision % 3n === 0n) {
              await note(`tables before ${event.type}`, await ledger.directory());
            }
            await ledger.applyAll([event]);
          }
          const rows = await ledger.queries.keyRows(
            [...keyIds].map((keyId) => ({ keyId, address: undefined })),
          );
          const expected = rows.value.map(({ key, status }) => key && { ...key, ...status });
          for (const [name, holders] of found) {
            expect({ [name]: holders }).toEqual({ [name]: expected });
          }
        },
      ),
      { numRuns: 12 },
    );
  });

  test('also when more has happened since than is remembered', async () => {
    const ledger = await Ledger.start();
    const projectId = await ledger.newProject();
    const directory = await ledger.directory({ maxChanges: 10 });
    for (let n = 0; n < 12; n += 1) {
      const key = unnamedKey(`${projectId}-${n}`);
      await ledger.project(projectId, { type: 'issue-key', memberId: 'zoe', key });
    }
    await expect(directory.find(`${projectId}-0`)).rejects.toMatchObject({
      code: 'read-model-behind',
    });
    await ledger.applyAll(await ledger.unapplied());
    expect(await directory.find(`${projectId}-0`)).toMatchObject({ role: 'owner' });
  });
});

describe('a key that is looked up', () => {
  test('is read with the others that come at once, then not again until it changes', async () => {
    const ledger = await Ledger.start();
    const projectId = await ledger.newProject();
    const register = { type: 'register', links: NO_LINKS, createdAt: NOW.toISOString() } as const;
    for (const deviceId of ['d', 'e']) {
      const key = unnamedKey(`${projectId}-${deviceId}`);
      await ledger.device(projectId, { ...register, deviceId, key });
    }
    const [d, e] = [`${projectId}-d`, `${projectId}-e`];
    const { queries, lookups } = counted(ledger.queries);
    const directory = await ledger.directory({ queries, appends: true });

    await Promise.all([d, e, d].map((keyId) => directory.find(keyId)));
    await directory.find(d);
    expect(lookups).toEqual([[d, e]]);

    await ledger.device(projectId, { type: 'retire', deviceId: 'd' });
    expect(await directory.find(d)).toMatchObject({ isActiveDevice: false });
    expect(await directory.find(e)).toMatchObject({ isActiveDevice: true });
    expect(lookups).toEqual([[d, e], [d]]);
  });

  test('and is unknown is not read again, until it is issued', async () => {
    const ledger = await Ledger.start();
    const projectId = await ledger.newProject();
    const { queries, lookups } = counted(ledger.queries);
    const directory = await ledger.directory({ queries });
    const keyId = `${projectId}-later`;
    expect(await directory.find(keyId)).toBeUndefined();
    expect(await directory.find(keyId)).toBeUndefined();
    expect(lookups).toEqual([[keyId]]);

    const key = unnamedKey(keyId);
    await ledger.project(projectId, { type: 'issue-key', memberId: 'zoe', key });
    await expect.poll(() => directory.find(keyId)).toMatchObject({ role: 'owner' });
  });
});

describe('while the log cannot be reached', () => {
  test('no key is accepted, since it may have been revoked', async () => {
    const ledger = await Ledger.start();
    const projectId = await ledger.newProject();
    let isReachable = true;
    const { store } = ledger.process;
    const unreachable = new LedgerError('store-unavailable', 'the log is unavailable');
    const head = (): Promise<Position> =>
      isReachable ? store.head() : Promise.reject(unreachable);
    const directory = await ledger.directory({ store: { ...store, head } });
    const keyId = `${projectId}-zoe`;
    expect(await directory.find(keyId)).toMatchObject({ role: 'owner' });

    isReachable = false;
    const now = performance.now();
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now + 1_500);
    onTestFinished(() => clock.mockRestore());
    await expect(directory.find(keyId)).rejects.toMatchObject({ code: 'store-unavailable' });
    isReachable = true;
    expect(await directory.find(keyId)).toMatchObject({ role: 'owner' });
  });
});

/** Keys are known by their id alone: each run names its own. */
function withKeyOf<Command extends object>(projectId: string, command: Command): Command {
  const { keyId } = command as { keyId?: unknown };
  if (typeof keyId !== 'string') return command;
  const named = `${projectId}-${keyId}`;
  return { ...command, keyId: named, key: unnamedKey(named) };
}
