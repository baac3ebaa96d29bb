import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { batchDecider, batchStream, type BatchCommand } from '../../src/commands/deveui/decider.ts';
import { FoldedStates } from '../../src/commands/core/folded-states.ts';
import { CommandHandler } from '../../src/commands/core/handler.ts';
import { openDatabase, type Database } from '../../src/database/database.ts';
import type { OpenEventStore } from '../../src/event-store/port.ts';
import { formatPosition } from '../../src/event-store/position-text.ts';
import { openPostgresSnapshotStore } from '../../src/event-store/postgres/postgres-snapshot-store.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { openTestLog } from '../event-store/test-log.ts';
import { startTestService, type TestProject, type TestService } from './api-client.ts';

// An answer `as_of` a position is what was answered when the log ended there: so each answer is
// asked for after each step of a history, and again as of that step when all of it has happened.

const testDatabase = createTestDatabase();
const logger = createLogger('silent');
let service: TestService;
let database: Database;
let log: OpenEventStore;
let handler: CommandHandler;

beforeAll(async () => {
  // Nothing provisions here: the history itself says what the provider answers.
  service = await startTestService(testDatabase.url, { lorawanApiUrl: 'http://127.0.0.1:1' });
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 4 });
  log = await openTestLog({ databaseUrl: testDatabase.url, database, logger });
  const snapshots = openPostgresSnapshotStore(database, log.logId);
  handler = new CommandHandler(log, new FoldedStates(log, snapshots, logger));
});
afterAll(async () => {
  await log.close();
  await database.close();
  await service.stop();
});

const DEVICES = ['d1', 'd2'] as const;
const SENSORS = ['s1', 's2'] as const;
const SIMS = ['m1', 'm2'] as const;
const ORGS = ['o1', 'o2'] as const;
const TIMES = ['2026-02-10T00:07:00Z', '2026-02-10T00:22:00Z', '2026-02-11T00:00:00Z'] as const;

const DAYS = 'start=2026-02-10&end=2026-02-11';
const PATHS: readonly string[] = [
  ...DEVICES.flatMap((id) => [
    `/devices/${id}?`,
    `/devices/${id}/timeline?limit=500`,
    `/devices/${id}/firmware?`,
    `/devices/${id}/firmware/current?`,
    `/firmware?device_id=${id}`,
  ]),
  '/firmware/versions?',
  ...SENSORS.flatMap((id) => [`/sensors/${id}?`, `/sensors/${id}/history?limit=500`]),
  '/sensors?',
  '/devices?',
  '/devices?limit=1',
  '/devices?retired=false&has_dev_eui=true',
  '/devices?version=2.0.0',
  ...ORGS.map((id) => `/devices?org_id=${id}`),
  '/members?',
  '/keys?',
  '/projects?',
  '/projects/{project}?',
  '/inventory?',
  '/usage/rejected?',
  '/deveuis?',
  '/deveuis/{first}?',
  '/batches?',
  '/batches/{batch}?',
  '/batches/{batch}/partitions?',
  '/batches/{batch}/partitions/1?',
  '/batches/{batch}/attempts?',
  '/usage/organizations?',
  `/usage/organizations?${DAYS}`,
  '/usage/simcards?',
  `/usage/simcards?${DAYS}`,
  ...[...ORGS, 'null'].map((id) => `/organization/${id}/usage?${DAYS}&every=1day`),
  ...SIMS.map((id) => `/simcard/${id}/usage?${DAYS}&every=10minute`),
];

interface Seen {
  readonly status: number;
  readonly body: unknown;
  readonly etag: string | null;
}

/** A project of its own, and what was answered after each of its steps. */
class History {
  readonly #project: TestProject;
  readonly #batchId: string;
  readonly #deviceKeys = new Map<string, string>();
  readonly #issuedKeys: string[] = [];
  readonly #drawn: string[] = [];
  readonly #open: { readonly devEui: string; readonly attempt: number }[] = [];
  readonly #members: string[] = [];
  readonly #answered: { readonly asOf: string; readonly answers: readonly Seen[] }[] = [];

  private constructor(project: TestProject, batchId: string) {
    this.#project = project;
    this.#batchId = batchId;
  }

  static async begin(): Promise<History> {
    const project = await service.newProject();
    const { body } = await project.owner.post<{ id: string }>('/batches', { json: {} });
    return new History(project, body.id);
  }

  /** Does one thing, if it can be done, and keeps what is answered then. */
  async step(step: Step): Promise<void> {
    await this.#do(step);
    const asOf = formatPosition(log.logId, await log.head());
    if (asOf === this.#answered.at(-1)?.asOf) return;
    this.#answered.push({ asOf, answers: await this.#answers('', asOf) });
  }

  async expectTheSame(): Promise<void> {
    for (const { asOf, answers } of this.#answered) {
      const again = await this.#answers(`&as_of=${asOf}`, asOf);
      for (const [index, path] of PATHS.entries()) {
        expect(again[index], `${path} as of ${asOf}`).toEqual(answers[index]);
      }
    }
  }

  #answers(more: string, seen: string): Promise<readonly Seen[]> {
    const headers = { 'fleetledger-min-position': seen };
    return Promise.all(
      PATHS.map(async (template) => {
        const path = template
          .replace('{project}', this.#project.id)
          .replace('{batch}', this.#batchId)
          .replace('{first}', this.#drawn[0] ?? 'FFA4570000000000');
        const answer = await this.#project.owner.get<{ code?: string }>(path + more, { headers });
        const { status, body } = answer;
        // An error tells its path and its request, too.
        const shown = status < 400 ? body : body.code;
        return { status, body: shown, etag: answer.headers.get('etag') };
      }),
    );
  }

  async #do(step: Step): Promise<void> {
    const { owner } = this.#project;
    switch (step.do) {
      case 'register': {
        const json = { device_id: step.device, ...this.#links(step) };
        const { body } = await owner.post<{ key?: string }>('/devices', { json });
        if (body.key !== undefined) this.#deviceKeys.set(step.device, body.key);
        return;
      }
      case 'change':
        await owner.patch(`/devices/${step.device}`, { json: this.#links(step) });
        return;
      case 'retire':
        await owner.delete(`/devices/${step.device}`);
        return;
      case 'issue key': {
        const { body } = await owner.post<{ id?: string }>(`/devices/${step.device}/keys`);
        if (body.id !== undefined) this.#issuedKeys.push(body.id);
        return;
      }
      case 'revoke key': {
        const id = this.#issuedKeys.pop();
        if (id !== undefined) await owner.delete(`/keys/${id}`);
        return;
      }
      case 'report': {
        const key = this.#deviceKeys.get(step.device);
        const json = { version: step.version, timestamp: step.timestamp };
        if (key !== undefined) await service.client(key).post('/firmware', { json });
        return;
      }
      case 'patch':
        await owner.patch(`/sensors/${step.sensor}`, { json: { data: { n: step.n } } });
        return;
      case 'set dedup':
        await owner.put(`/sensors/${step.sensor}/dedup`, { json: { strategy: step.strategy } });
        return;
      case 'assign': {
        const json = { org_id: step.org, ...(step.from !== null && { from: step.from }) };
        await owner.put(`/inventory/${step.sim}`, { json });
        return;
      }
      case 'use': {
        const json = { 'sim-card-id': step.sim, 'bytes-used': step.bytes, date: step.date };
        await owner.post('/usage', { json });
        return;
      }
      case 'draw':
        await this.#provision({ type: 'begin', sentAt: new Date().toISOString() });
        return;
      case 'answer':
        await this.#answer(step.outcome);
        return;
      case 'stop or hide':
        await owner.delete(`/batches/${this.#batchId}`);
        return;
      case 'resume':
        await owner.post(`/batches/${this.#batchId}/resume`);
        return;
      case 'add member': {
        const json = { name: 'Ada', role: step.role };
        const { body } = await owner.post<{ id: string }>('/members', { json });
        this.#members.push(body.id);
        return;
      }
      case 'remove member':
        await owner.delete(`/members/${this.#members.pop() ?? 'none'}`);
        return;
      case 'reject usage':
        await owner.post('/usage', { json: { 'sim-card-id': '1', 'bytes-used': -1, date: 'no' } });
    }
  }

  #links({ devEui, sensor, sim }: Links): object {
    return {
      dev_eui: devEui === null ? null : (this.#drawn[devEui] ?? null),
      sensor_id: sensor,
      sim_card_id: sim,
    };
  }

  async #provision(command: BatchCommand): Promise<void> {
    const { id: projectId } = this.#project;
    const stream = batchStream(projectId, this.#batchId);
    const context = { projectId, actor: 'system:provisioning', correlationId: 'r1' };
    const handled = await handler.execute(batchDecider, stream, command, context);
    const events = handled.outcome === 'recorded' ? handled.events : [];
    for (const { type, data } of events) {
      if (type !== 'DevEuiAttempted') continue;
      this.#drawn.push(data.devEui);
      this.#open.push(data);
    }
  }

  async #answer(kind: 'registered' | 'in-use' | 'failed'): Promise<void> {
    const attempt = this.#open.shift();
    if (attempt === undefined) return;
    const { devEui, attempt: number } = attempt;
    const endedAt = new Date().toISOString();
    const limits = { maxFailures: 99, maxConflicts: 99 };
    const settle = { type: 'settle', devEui, attempt: number, endedAt, ...limits } as const;
    if (kind === 'registered') {
      await this.#provision({ ...settle, outcome: { kind, providerStatus: 200 } });
      return;
    }
    if (kind === 'in-use') {
      const refusal = { providerStatus: 422, reason: 'already used' };
      await this.#provision({ ...settle, outcome: { kind, ...refusal } });
      return;
    }
    const failure = { providerStatus: null, reason: 'timed out', mayBeRegistered: true };
    await this.#provision({ ...settle, outcome: { kind, ...failure } });
    await this.#provision({ type: 'retry', devEui, sentAt: endedAt });
  }
}

interface Links {
  /** Which of those that were drawn. */
  readonly devEui: number | null;
  readonly sensor: string | null;
  readonly sim: string | null;
}

type Step =
  | ({ readonly do: 'register' | 'change'; readonly device: string } & Links)
  | { readonly do: 'retire' | 'issue key'; readonly device: string }
  | { readonly do: 'revoke key' | 'draw' | 'stop or hide' | 'resume' | 'remove member' }
  | { readonly do: 'reject usage' }
  | { readonly do: 'answer'; readonly outcome: 'registered' | 'in-use' | 'failed' }
  | { readonly do: 'add member'; readonly role: 'owner' | 'viewer' }
  | {
      readonly do: 'report';
      readonly device: string;
      readonly version: string;
      readonly timestamp: number;
    }
  | { readonly do: 'patch'; readonly sensor: string; readonly n: number }
  | { readonly do: 'set dedup'; readonly sensor: string; readonly strategy: string }
  | {
      readonly do: 'assign';
      readonly sim: string;
      readonly org: string;
      readonly from: string | null;
    }
  | { readonly do: 'use'; readonly sim: string; readonly bytes: number; readonly date: string };

const device = fc.constantFrom(...DEVICES);
const sensor = fc.constantFrom(...SENSORS);
const sim = fc.constantFrom(...SIMS);
const links = {
  devEui: fc.constantFrom(null, 0, 1),
  sensor: fc.option(sensor),
  sim: fc.option(sim),
};

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('register' as const), device, ...links }),
  fc.record({ do: fc.constant('change' as const), device, ...links }),
  fc.record({ do: fc.constantFrom('retire' as const, 'issue key' as const), device }),
  fc.record({ do: fc.constantFrom('revoke key' as const, 'draw' as const, 'draw' as const) }),
  fc.record({
    do: fc.constant('answer' as const),
    outcome: fc.constantFrom('registered' as const, 'in-use' as const, 'failed' as const),
  }),
  fc.record({
    do: fc.constantFrom(
      'stop or hide' as const,
      'resume' as const,
      'remove member' as const,
      'reject usage' as const,
    ),
  }),
  fc.record({
    do: fc.constant('add member' as const),
    role: fc.constantFrom('owner' as const, 'viewer' as const),
  }),
  fc.record({
    do: fc.constant('report' as const),
    device,
    version: fc.constantFrom('1.0.0', '2.0.0', '3.0.0'),
    timestamp: fc.constantFrom(5, 1_767_225_600, 1_767_225_700),
  }),
  fc.record({ do: fc.constant('patch' as const), sensor, n: fc.nat(3) }),
  fc.record({
    do: fc.constant('set dedup' as const),
    sensor,
    strategy: fc.constantFrom('none', 'unchanged', 'message-id'),
  }),
  fc.record({
    do: fc.constant('assign' as const),
    sim,
    org: fc.constantFrom(...ORGS),
    from: fc.option(fc.constantFrom(...TIMES)),
  }),
  fc.record({
    do: fc.constant('use' as const),
    sim,
    bytes: fc.nat(9),
    date: fc.constantFrom(...TIMES, new Date().toISOString()),
  }),
);

async function play(steps: readonly Step[]): Promise<void> {
  const history = await History.begin();
  for (const step of steps) await history.step(step);
  await history.expectTheSame();
}

const NOTHING: Links = { devEui: null, sensor: null, sim: null };

/** These tell about now: the key that asks, the log itself, and attempts to deliver. */
const OF_NOW = new Set(['/key', '/events', '/webhooks/{id}/deliveries']);

interface OpenApi {
  readonly paths: Record<string, { get?: { parameters?: { name: string }[]; tags: string[] } }>;
}

test('every GET of a project takes as_of, unless it tells about now', async () => {
  const response = await fetch(new URL('/openapi.json', service.url));
  const { paths } = (await response.json()) as OpenApi;
  const without = Object.entries(paths).flatMap(([path, { get }]) => {
    const isOfProject =
      get !== undefined && !/^\/(api\/v1\/)?(admin|health|metrics|log)\b/.test(path);
    const takes = get?.parameters?.some(({ name }) => name === 'as_of') === true;
    return isOfProject && !takes ? [path.replace('/api/v1', '')] : [];
  });

  expect(new Set(without)).toEqual(OF_NOW);
});

describe('an answer as of a position is the one that was given then', () => {
  test('before a DevEUI was linked', () =>
    play([
      { do: 'draw' },
      { do: 'register', device: 'd1', ...NOTHING },
      { do: 'change', device: 'd1', ...NOTHING, devEui: 0 },
    ]));

  test('before a strategy was set, and after', () =>
    play([
      { do: 'patch', sensor: 's1', n: 1 },
      { do: 'set dedup', sensor: 's1', strategy: 'none' },
      { do: 'patch', sensor: 's1', n: 1 },
    ]));

  test('before anything was known', () =>
    play([
      { do: 'register', device: 'd2', ...NOTHING },
      { do: 'register', device: 'd1', ...NOTHING },
      { do: 'report', device: 'd1', version: '1.0.0', timestamp: 1_767_225_600 },
      { do: 'use', sim: 'm1', bytes: 7, date: TIMES[0] },
      { do: 'assign', sim: 'm1', org: 'o1', from: null },
      { do: 'assign', sim: 'm2', org: 'o1', from: TIMES[0] },
    ]));

  test('before a device had another key', () =>
    play([
      { do: 'register', device: 'd1', ...NOTHING },
      { do: 'issue key', device: 'd1' },
      { do: 'revoke key' },
    ]));

  test('before a DevEUI was answered, and its batch stopped, hidden and resumed', () =>
    play([
      { do: 'draw' },
      { do: 'answer', outcome: 'registered' },
      { do: 'draw' },
      { do: 'answer', outcome: 'failed' },
      { do: 'draw' },
      { do: 'answer', outcome: 'in-use' },
      { do: 'stop or hide' },
      { do: 'stop or hide' },
      { do: 'resume' },
    ]));

  test('before a sensor was patched over many keyframes', () =>
    play(Array.from({ length: 20 }, (_, n): Step => ({ do: 'patch', sensor: 's1', n }))));

  test('before a member was removed, and a record rejected', () =>
    play([{ do: 'add member', role: 'viewer' }, { do: 'remove member' }, { do: 'reject usage' }]));

  test('whatever happens', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { minLength: 8, maxLength: 16, size: 'max' }), play),
      { numRuns: 6 },
    );
  });
});
