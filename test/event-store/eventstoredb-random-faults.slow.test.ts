// @module-tag slow
import fc from 'fast-check';
import { setImmediate } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import type { Appender } from '../../src/event-store/eventstoredb/appender.ts';
import {
  BEGINNING,
  type Appended,
  type ExpectedRevision,
  type NewEvent,
  type RecordedEvent,
} from '../../src/event-store/port.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import { LedgerError } from '../../src/shared/errors.ts';
import { collectBatches } from './contract/follower.ts';
import { ids, readStream, TestProject } from './contract/test-project.ts';
import { openAppender, openLog, watchUnhandledRejections } from './eventstoredb-fixture.ts';
import { EventStoreStandIn } from './eventstoredb/stand-in.ts';

const STREAMS = 3;

interface PlannedWrite {
  readonly writer: number;
  readonly stream: number;
  readonly size: number;
  readonly expected: 'no-stream' | 'present' | 'behind' | 'any' | 'stream-exists';
}

type PlannedFault =
  | { readonly kind: 'none' | 'lose-answers' | 'unavailable' | 'not-ready'; readonly count: number }
  | { readonly kind: 'deadline'; readonly count: number; readonly stored: boolean }
  | { readonly kind: 'not-leader' | 'cut' | 'restart' | 'stall' | 'stall-and-cut' | 'hold' };

interface Step {
  readonly writes: readonly PlannedWrite[];
  readonly fault: PlannedFault;
  /** Turns of the event loop, before the fault and while it lasts. */
  readonly turns: number;
  readonly foreign: number | undefined;
  /** Whether the answers are awaited before the next step. */
  readonly isAwaited: boolean;
}

const plannedWrite: fc.Arbitrary<PlannedWrite> = fc.record({
  writer: fc.nat(1),
  stream: fc.nat(STREAMS - 1),
  size: fc.integer({ min: 1, max: 3 }),
  expected: fc.constantFrom('no-stream', 'present', 'behind', 'any', 'stream-exists'),
});

const count = fc.integer({ min: 1, max: 3 });
const plannedFault: fc.Arbitrary<PlannedFault> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('none', 'lose-answers', 'unavailable', 'not-ready'),
    count,
  }),
  fc.record({ kind: fc.constant('deadline' as const), count, stored: fc.boolean() }),
  fc.record({
    kind: fc.constantFrom('not-leader', 'cut', 'restart', 'stall', 'stall-and-cut', 'hold'),
  }),
);

const plan: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    writes: fc.array(plannedWrite, { minLength: 1, maxLength: 6 }),
    fault: plannedFault,
    turns: fc.nat(40),
    foreign: fc.option(fc.nat(STREAMS - 1), { nil: undefined }),
    isAwaited: fc.boolean(),
  }),
  { minLength: 3, maxLength: 12 },
);

/** Most appends have an answer after 1 ms, few before an attempt is given up after 20 ms. */
const showsAfterMs = fc.constantFrom(0, 1, 20);

interface Sent {
  readonly stream: StreamName;
  readonly events: readonly NewEvent[];
  readonly expectedRevision: ExpectedRevision;
  /** Undefined when it could not be found out in time. */
  answer: Appended | undefined;
}

class Walk {
  readonly sent: Sent[] = [];
  readonly project = new TestProject();
  readonly streams = Array.from({ length: STREAMS }, (_, ordinal) =>
    this.project.stream(String(ordinal)),
  );
  readonly #server: EventStoreStandIn;
  readonly #writers: readonly Appender[];
  readonly #running = new Set<Promise<void>>();

  constructor(server: EventStoreStandIn, writers: readonly Appender[]) {
    this.#server = server;
    this.#writers = writers;
  }

  async take({ writes, fault, turns, foreign, isAwaited }: Step): Promise<void> {
    this.#prepare(fault);
    for (const write of writes) this.#send(write);
    await passTurns(turns);
    if (foreign !== undefined) this.#server.appendForeign(this.#streamOf(foreign), 'OtherCame');
    await this.#strike(fault, turns);
    if (isAwaited) await this.end();
  }

  async end(): Promise<void> {
    await Promise.all(this.#running);
  }

  #send({ writer, stream, size, expected }: PlannedWrite): void {
    const name = this.#streamOf(stream);
    const sent: Sent = {
      stream: name,
      events: this.project.events(size),
      expectedRevision: this.#expected(name, expected),
      answer: undefined,
    };
    this.sent.push(sent);
    const running = this.#append(sent, this.#writers[writer]);
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  async #append(sent: Sent, writer: Appender | undefined): Promise<void> {
    try {
      [sent.answer] = (await writer?.append([sent])) ?? [];
    } catch (error) {
      if (!(error instanceof LedgerError && error.code === 'store-unavailable')) throw error;
    }
  }

  #expected(stream: StreamName, expected: PlannedWrite['expected']): ExpectedRevision {
    if (expected !== 'present' && expected !== 'behind') return expected;
    let revision = -1n;
    for (const { stream: of, answer } of this.sent) {
      if (of !== stream || answer?.outcome !== 'appended') continue;
      if (answer.revision > revision) ({ revision } = answer);
    }
    if (expected === 'behind') revision -= 1n;
    return revision < 0n ? 'no-stream' : revision;
  }

  #streamOf(ordinal: number): StreamName {
    return this.streams[ordinal] ?? this.project.stream('none');
  }

  #prepare(fault: PlannedFault): void {
    const server = this.#server;
    if (fault.kind === 'lose-answers') server.loseAnswers(fault.count);
    if (fault.kind === 'unavailable') server.answerUnavailable(fault.count);
    if (fault.kind === 'not-ready') server.answerNotReady(fault.count);
    if (fault.kind === 'deadline') server.answerDeadlineExceeded(fault.count, fault);
    if (fault.kind === 'not-leader') {
      server.answerNotLeader(1, { host: '127.0.0.1', port: server.port });
    }
    if (fault.kind === 'hold') server.stall('answers');
    if (fault.kind === 'stall' || fault.kind === 'stall-and-cut') server.stall();
  }

  async #strike(fault: PlannedFault, turns: number): Promise<void> {
    const server = this.#server;
    if (fault.kind === 'cut' || fault.kind === 'stall-and-cut') server.cutConnections();
    if (fault.kind === 'restart') {
      await server.kill();
      await passTurns(turns);
      await server.restart();
    }
    // Long enough, at times, for an attempt to be given up.
    await passTurns(turns * 10);
    server.resume();
  }
}

const EVENTUALLY = { timeout: 10_000, interval: 10 };

async function passTurns(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await setImmediate();
}

function check(sent: readonly Sent[], recorded: ReadonlyMap<StreamName, RecordedEvent[]>): void {
  for (const { stream, events, expectedRevision, answer } of sent) {
    const present = recorded.get(stream) ?? [];
    const stored = present.filter(({ id }) => events.some((event) => event.id === id));
    const inOrder = ids(events);
    if (answer === undefined) {
      // All of it or nothing.
      expect([[], inOrder]).toContainEqual(ids(stored));
    } else if (answer.outcome === 'appended') {
      expect(ids(stored)).toEqual(inOrder);
      const { revision, position } = stored.at(-1) ?? {};
      expect(answer).toEqual({ outcome: 'appended', revision, position });
    } else {
      expect(answer.outcome).toBe('conflict');
      expect(stored).toEqual([]);
    }
    if (stored.length > 0 && typeof expectedRevision === 'bigint') {
      expect(stored[0]?.revision).toBe(expectedRevision + 1n);
    }
    if (stored.length > 0 && expectedRevision === 'no-stream') {
      expect(stored[0]?.revision).toBe(0n);
    }
  }
}

test('whatever happens between and during appends, their answers are the truth', async () => {
  const unhandled = watchUnhandledRejections();
  let [walks, appended, refused, unknown] = [0, 0, 0, 0];
  await fc.assert(
    fc.asyncProperty(plan, showsAfterMs, async (steps, delay) => {
      const server = await EventStoreStandIn.start({ showsAfterMs: delay, dropTimeoutMs: 30 });
      walks += 1;
      try {
        const reader = await openLog(server, { connectionName: `reader${walks}` });
        const writers = [
          openAppender(server, `patient${walks}`, { attemptTimeoutMs: 60 }),
          openAppender(server, `hasty${walks}`, { attemptTimeoutMs: 15, retryForMs: 40 }),
        ];
        const walk = new Walk(
          server,
          writers.map(({ appender }) => appender),
        );
        for (const step of steps) await walk.take(step);
        await walk.end();

        const recorded = new Map<StreamName, RecordedEvent[]>();
        // An append that was given up may still be shown between one reading and the next.
        await vi.waitFor(async () => {
          for (const stream of walk.streams) recorded.set(stream, await readStream(reader, stream));
          const all = walk.project.own(
            await collectBatches(reader.readAll({ after: BEGINNING }), BEGINNING),
          );
          expect(all).toEqual(
            [...recorded.values()].flat().toSorted((a, b) => (a.position < b.position ? -1 : 1)),
          );
        }, EVENTUALLY);
        check(walk.sent, recorded);
        for (const { answer } of walk.sent) {
          if (answer === undefined) unknown += 1;
          else if (answer.outcome === 'appended') appended += 1;
          else refused += 1;
        }
      } finally {
        await server.close();
      }
    }),
    { numRuns: 40, interruptAfterTimeLimit: 15_000, markInterruptAsFailure: false },
  );
  expect(unhandled).toEqual([]);
  // The walk has been to all of them.
  expect(appended).toBeGreaterThan(0);
  expect(refused).toBeGreaterThan(0);
  expect(unknown).toBeGreaterThan(0);
});
