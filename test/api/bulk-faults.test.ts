import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import type { Authentication } from '../../src/api/authentication.ts';
import type { EventAnswers } from '../../src/api/events/event-answers.ts';
import { Pipeline } from '../../src/api/pipeline.ts';
import { RateLimits } from '../../src/api/rate-limits.ts';
import { Responder } from '../../src/api/responder.ts';
import { bulkRoutes } from '../../src/api/state/bulk.ts';
import { DeviceSightings } from '../../src/commands/tenancy/device-sightings.ts';
import { FoldedStates } from '../../src/commands/core/folded-states.ts';
import { CommandHandler } from '../../src/commands/core/handler.ts';
import { IdempotentRequests } from '../../src/commands/core/idempotent-requests.ts';
import { sensorStream, StateCommands } from '../../src/commands/state/commands.ts';
import type { EventStore, Position, RecordedEvent } from '../../src/event-store/port.ts';
import { Positions } from '../../src/event-store/positions.ts';
import type { ReadModels } from '../../src/projections/engine/reading/read-models.ts';
import { LedgerError } from '../../src/shared/errors.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { prepareWriteProcesses, type WriteProcess } from '../commands/core/write-process.ts';

const startWriteProcess = prepareWriteProcesses();
const logger = createLogger('silent');

/** When a client has sent a request so many times in vain, the store recovers. */
const ATTEMPTS_WITH_FAULTS = 8;
const SENSORS = 3;

interface Plan {
  readonly strategy: 'unchanged' | 'message-id';
  /** One for each append and reading of a stream, over and over. */
  readonly faults: readonly ('none' | 'before' | 'after')[];
  readonly requests: readonly PlannedRequest[];
}

interface PlannedRequest {
  readonly isStreamed: boolean;
  readonly items: readonly { readonly sensor: number; readonly kind: 'new' | 'same' | 'bad' }[];
  /** To which of the two processes each attempt goes, and whether two copies are sent at once. */
  readonly attempts: readonly { readonly process: number; readonly isDouble: boolean }[];
}

const anyPlan: fc.Arbitrary<Plan> = fc.record({
  strategy: fc.constantFrom('unchanged', 'message-id'),
  faults: fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.constant('none' as const) },
      { weight: 1, arbitrary: fc.constant('before' as const) },
      { weight: 1, arbitrary: fc.constant('after' as const) },
    ),
    { minLength: 40, maxLength: 97, size: 'max' },
  ),
  requests: fc.array(
    fc.record({
      isStreamed: fc.boolean(),
      items: fc.array(
        fc.record({
          sensor: fc.nat(SENSORS - 1),
          kind: fc.oneof(
            { weight: 4, arbitrary: fc.constant('new' as const) },
            { weight: 4, arbitrary: fc.constant('same' as const) },
            { weight: 1, arbitrary: fc.constant('bad' as const) },
          ),
        }),
        { minLength: 1, maxLength: 8, size: 'max' },
      ),
      attempts: fc.array(fc.record({ process: fc.nat(1), isDouble: fc.boolean() }), {
        minLength: 3,
        maxLength: 3,
      }),
    }),
    { minLength: 2, maxLength: 4, size: 'max' },
  ),
});

interface Result {
  readonly id: string;
  readonly status: number;
  readonly revision?: number;
  readonly deduplicated?: string;
}

interface Process extends WriteProcess {
  readonly url: string;
  readonly failing: {
    /** From an endless list; undefined: none. */
    faults: Iterator<Plan['faults'][number]> | undefined;
    /** Appends to this sensor fail, and not because the store is unavailable. */
    brokenSensor: string | undefined;
  };
  /** What was logged as an error. */
  readonly errors: unknown[];
  /** What the read models were told of. */
  readonly answered: Position[];
}

/** The API of many patches in a process of its own, over a store that can be made to fail. */
async function startProcess(): Promise<Process> {
  const process = await startWriteProcess();
  const failing: Process['failing'] = { faults: undefined, brokenSensor: undefined };
  const errors: unknown[] = [];
  const listening = Object.assign(createLogger('silent'), {
    error: ({ err }: { err: unknown }) => errors.push(err),
  });
  const store = failingStore(process.store, failing);
  const handler = new CommandHandler(store, new FoldedStates(store, process.snapshots, logger));
  const positions = new Positions(store);
  const answered: Position[] = [];
  const models = {
    newestKnown: 0n as Position,
    answered: (position: Position) => answered.push(position),
  } as unknown as ReadModels;
  const pipeline = new Pipeline({
    authentication: {
      authenticate: async ({ 'x-project': projectId }: Record<string, string>) => ({
        kind: 'member',
        keyId: 'k1',
        memberId: 'm1',
        role: 'owner',
        projectId,
      }),
    } as unknown as Authentication,
    limits: new RateLimits({ perKey: 1_000_000, failuresPerAddress: 1_000_000 }),
    requests: new IdempotentRequests(store, Buffer.alloc(32, 1), () => new Date()),
    sightings: new DeviceSightings(store, () => new Date(), logger),
    models,
    positions,
    // No request here accepts event streams.
    eventAnswers: undefined as unknown as EventAnswers,
    responder: new Responder({ models, positions, logger: listening }),
    clock: () => new Date(),
  });
  const [route] = bulkRoutes(new StateCommands({ handler, store }));
  const app = express();
  app.post('/', (request, response) => pipeline.run(route!, request, response));
  const server: Server = createServer(app);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { ...process, failing, errors, answered, url: `http://127.0.0.1:${port}/` };
}

function failingStore(store: EventStore, failing: Process['failing']): EventStore {
  const next = (): Plan['faults'][number] => failing.faults?.next().value ?? 'none';
  const away = (): LedgerError =>
    new LedgerError('store-unavailable', 'The database is unavailable.');
  return {
    logId: store.logId,
    async append(writes) {
      const fault = next();
      if (fault === 'before') throw away();
      const isBroken = writes.some(({ stream }) => stream.endsWith(`.${failing.brokenSensor}`));
      if (isBroken) throw new TypeError('a mistake of ours');
      const appended = await store.append(writes);
      if (fault === 'after') throw away();
      return appended;
    },
    async *readStream(stream, options) {
      if (next() === 'before') throw away();
      yield* store.readStream(stream, options);
    },
    readAll: (options) => store.readAll(options),
    subscribe: (options) => store.subscribe(options),
    head: () => store.head(),
    end: () => store.end(),
    positionAt: (time) => store.positionAt(time),
  };
}

function* endless<T>(list: readonly T[]): Generator<T, never> {
  for (;;) yield* list;
}

let runs = 0;

/** What one client sends, and what it was told of each item. */
class Client {
  readonly key: string;
  readonly items: readonly { id: string; data: unknown; message_id?: string }[];
  readonly #projectId: string;
  readonly #request: PlannedRequest;
  readonly #results = new Map<number, { readonly result: Result; readonly head: Position }>();

  constructor(projectId: string, number: number, plan: Plan) {
    this.key = `${projectId}-${number}`;
    this.#projectId = projectId;
    this.#request = plan.requests[number]!;
    this.items = this.#request.items.map(({ sensor, kind }, index) => ({
      id: `s${sensor}`,
      data: { new: { v: `${this.key}:${index}` }, same: { w: 'same' }, bad: [] }[kind],
      ...(plan.strategy === 'message-id' && { message_id: `${this.key}:${index}` }),
    }));
  }

  get results(): ReadonlyMap<number, { readonly result: Result; readonly head: Position }> {
    return this.#results;
  }

  kindOf(index: number): string | undefined {
    return this.#request.items[index]?.kind;
  }

  /** Sends the request until each item has its result; once it is called again, once more. */
  async run(
    processes: readonly Process[],
    { recover, writeOther }: { recover: () => void; writeOther: () => Promise<void> },
  ): Promise<void> {
    for (let attempt = 0; attempt === 0 || !this.#isAnswered; attempt += 1) {
      if (attempt === ATTEMPTS_WITH_FAULTS) recover();
      expect(attempt, 'attempts').toBeLessThan(ATTEMPTS_WITH_FAULTS + 100);
      const { process, isDouble } = this.#request.attempts[attempt % 3]!;
      const target = processes[process]!;
      await Promise.all([this.#send(target), ...(isDouble ? [this.#send(target)] : [])]);
      await writeOther();
    }
  }

  get #isAnswered(): boolean {
    return this.#results.size === this.items.length;
  }

  async #send({ url, store }: Process): Promise<void> {
    const { isStreamed } = this.#request;
    const answer = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': isStreamed ? 'application/x-ndjson' : 'application/json',
        'idempotency-key': this.key,
        'x-correlation-id': this.key,
        'x-project': this.#projectId,
      },
      body: isStreamed
        ? this.items.map((item) => `${JSON.stringify(item)}\n`).join('')
        : JSON.stringify(this.items),
    });
    const body = (await answer.json()) as { results: Result[] };
    if (answer.status === 503) return;
    expect(answer.status, JSON.stringify(body)).toBe(200);
    const head = await store.head();
    for (const [index, result] of body.results.entries()) {
      expect(result.id).toBe(this.items[index]?.id);
      if (result.status >= 500) continue;
      const known = this.#results.get(index);
      if (known === undefined) this.#results.set(index, { result, head });
      else expect(result).toEqual(known.result);
    }
  }
}

/** The places of a request's items whose events these are, in the order of the log. */
function placesOf(
  client: Client,
  events: readonly RecordedEvent[],
  plan: PlannedRequest,
): number[] {
  return events
    .filter(({ metadata }) => metadata.correlationId === client.key)
    .map(({ data, metadata: { causationOrdinal } }) => {
      const messageId = data['messageId'];
      if (typeof messageId === 'string') return Number(messageId.split(':')[1]);
      // The lines of a stream are numbered from 1.
      return (causationOrdinal ?? 0) - (plan.isStreamed ? 1 : 0);
    });
}

function post(
  { url }: Process,
  projectId: string,
  items: readonly object[],
): Promise<{ results: (Result & { code?: string; detail?: string })[] }> {
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-project': projectId },
    body: JSON.stringify(items),
  }).then((answer) => answer.json() as ReturnType<typeof post>);
}

test('an unexpected error of an item is logged, stops the later ones of its sensor and no other', async () => {
  const process = await startProcess();
  process.failing.brokenSensor = 'broken';
  const item = (id: string, n: number): object => ({ id, data: { n } });
  const { results } = await post(process, 'unexpected', [
    item('broken', 1),
    item('well', 1),
    item('broken', 2),
    item('well', 2),
  ]);
  const failed = { id: 'broken', status: 500, code: 'internal-error' };
  expect(results).toMatchObject([
    failed,
    { id: 'well', status: 200 },
    failed,
    { id: 'well', status: 200 },
  ]);
  expect(process.errors).toEqual([new TypeError('a mistake of ours')]);
});

test('read models hold what another process recorded for the same streamed request', async () => {
  const [process, other] = [await startProcess(), await startProcess()];
  for (const { url } of [process, other]) {
    const answer = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-ndjson',
        'idempotency-key': 'read-models',
        'x-project': 'read-models',
      },
      body: '{"id":"first","data":{"n":1}}\n{"id":"second","data":{"n":1}}\n',
    });
    expect(answer.status).toBe(200);
    await answer.text();
  }
  const recorded: Position[] = [];
  for (const sensorId of ['first', 'second']) {
    const stream = sensorStream('read-models', sensorId);
    for await (const { position } of other.store.readStream(stream)) recorded.push(position);
  }
  expect(recorded).toHaveLength(2);
  for (const position of recorded) {
    expect(other.answered.some((answered) => answered >= position)).toBe(true);
  }
});

test('every acknowledged item of a bulk that is repeated over a failing store is in the log once, and stays where it is', async () => {
  const processes = [await startProcess(), await startProcess()];
  const calm = new StateCommands(processes[0]!);
  await fc.assert(
    fc.asyncProperty(anyPlan, async (plan) => {
      runs += 1;
      const projectId = `p${runs}`;
      const context = { projectId, actor: 'k1', correlationId: 'other' };
      await calm.setProjectDedup({ strategy: plan.strategy }, context);
      const faults = endless(plan.faults);
      for (const { failing } of processes) failing.faults = faults;
      const clients = plan.requests.map((_, number) => new Client(projectId, number, plan));
      const recover = (): void => {
        for (const { failing } of processes) failing.faults = undefined;
      };
      // What others write is newer than what was acknowledged before, and must stay.
      let others = 0;
      const writeOther = async (): Promise<void> => {
        others += 1;
        const incoming = { patch: { w: `other ${others}` }, receivedAt: new Date() };
        await calm.patch(`s${others % SENSORS}`, incoming, context);
      };
      await Promise.all(
        clients.map(async (client) => {
          await client.run(processes, { recover, writeOther });
          await client.run(processes, { recover, writeOther });
        }),
      );

      for (let sensor = 0; sensor < SENSORS; sensor += 1) {
        const events: RecordedEvent[] = [];
        const stream = sensorStream(projectId, `s${sensor}`);
        for await (const event of processes[0]!.store.readStream(stream)) events.push(event);
        for (const [number, client] of clients.entries()) {
          const places = placesOf(client, events, plan.requests[number]!);
          expect(places, 'in their order, each once').toEqual(
            [...new Set(places)].toSorted((a, b) => a - b),
          );
          for (const [index, { result, head }] of client.results) {
            if (result.id !== `s${sensor}`) continue;
            const event = events.find(
              ({ metadata, revision }) =>
                metadata.correlationId === client.key && revision === BigInt(result.revision ?? -1),
            );
            if (client.kindOf(index) === 'bad') expect(result.status).toBe(422);
            else expect(result.status).toBe(200);
            expect(places.includes(index)).toBe(event !== undefined && !result.deduplicated);
            if (client.kindOf(index) === 'new') {
              expect(result.deduplicated).toBeUndefined();
              expect(event?.data['patch']).toEqual(client.items[index]?.data);
              expect(event?.position).toBeLessThanOrEqual(head);
            }
          }
        }
      }
    }),
    { numRuns: 30 },
  );
});
