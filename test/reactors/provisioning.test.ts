import { describe, expect, test, vi } from 'vitest';
import { batchDecider, isDone } from '../../src/commands/deveui/decider.ts';
import { prepareWriteProcesses } from '../commands/core/write-process.ts';
import {
  EVENTUALLY,
  eventsOf,
  eventually,
  isBalanced,
  requestBatch,
  simulate,
  startProvisioning,
  tallyOf,
} from './provisioning-fixture.ts';

const startProcess = prepareWriteProcesses();

describe('a batch', () => {
  test('registers as many as were asked for, with the provider and in the log', async () => {
    const process = await startProcess();
    const simulator = await simulate();
    startProvisioning(process, simulator);
    const batch = await requestBatch(process.handler, simulator, 50);

    const { registered } = tallyOf(await eventually(process.store, batch, 'BatchCompleted'));

    expect(registered).toHaveLength(50);
    expect(new Set(registered)).toEqual(new Set(simulator.registered()));
    expect(new Set(registered.map((devEui) => devEui.slice(-5))).size).toBe(50);
    expect(simulator.stats()).toMatchObject({ requests: 50 });
  });

  test('waits for no more than its turn, however much of another project waits', async () => {
    const process = await startProcess();
    const simulator = await simulate({ latencyMs: 200 });
    for (let n = 0; n < 40; n += 1) await requestBatch(process.handler, simulator, 1_000);
    startProvisioning(process, simulator);
    await expect.poll(() => simulator.registered().length, EVENTUALLY).toBeGreaterThan(50);
    const before = simulator.stats().requests;
    const small = await requestBatch(process.handler, simulator, 5, { project: 'globex' });

    await eventually(process.store, small, 'BatchCompleted');

    // First come, first served, the 400 that wait for a slot would have come before it.
    expect(simulator.stats().requests - before).toBeLessThan(200);
    expect(simulator.stats().peak_in_flight).toBeLessThanOrEqual(10);
  });

  test('has what was in use replaced, by DevEUIs with short codes of their own', async () => {
    const process = await startProcess();
    const simulator = await simulate({ conflictRate: 0.4 });
    startProvisioning(process, simulator);
    const batch = await requestBatch(process.handler, simulator, 60, { prefix: 'AC1DE5' });

    const events = await eventually(process.store, batch, 'BatchCompleted');

    const { registered, conflicted, attempted } = tallyOf(events);
    expect(registered).toHaveLength(60);
    expect(conflicted.length).toBeGreaterThan(0);
    expect(new Set(registered)).toEqual(new Set(simulator.registered()));
    expect(new Set([...attempted].map((devEui) => devEui.slice(-5))).size).toBe(attempted.size);
    for (const devEui of attempted) expect(devEui).toMatch(/^AC1DE5[0-9A-F]{10}$/);
  });

  test('is exact at every position, whatever the provider does', async () => {
    const process = await startProcess();
    const simulator = await simulate({
      hangRate: 0.05,
      resetRate: 0.08,
      errorRate: 0.08,
      unavailableRate: 0.05,
      retryAfterSeconds: 0,
      garbageRate: 0.05,
      lostAnswerRate: 0.08,
      lostHangRate: 0.05,
    });
    startProvisioning(process, simulator, { timeoutMs: 300 });
    const batch = await requestBatch(process.handler, simulator, 150);

    const events = await eventually(process.store, batch, 'BatchCompleted');

    const { registered, unconfirmed, conflicted, inFlight } = tallyOf(events, (tally) => {
      expect(isBalanced(tally, 150)).toBe(true);
    });
    expect(registered).toHaveLength(150);
    expect(unconfirmed.length).toBeGreaterThan(0);
    expect({ conflicted, inFlight }).toEqual({ conflicted: [], inFlight: new Set() });
    expect([...registered, ...unconfirmed].toSorted()).toEqual(simulator.registered().toSorted());
    expect(simulator.stats().peak_in_flight).toBeLessThanOrEqual(10);
  });

  test('that finds no answer fails with its reason, and continues when it is resumed', async () => {
    const process = await startProcess();
    const dead = await simulate({ errorRate: 1 });
    const provisioning = startProvisioning(process, dead, { maxFailures: 3 });
    const batch = await requestBatch(process.handler, dead, 5);

    const events = await eventually(process.store, batch, 'BatchFailed');
    expect(events.findLast(({ type }) => type === 'BatchFailed')?.data).toMatchObject({
      reason: expect.stringContaining('500') as string,
    });
    expect(tallyOf(events).inFlight.size).toBe(5);
    await provisioning.stop();

    const alive = await simulate();
    startProvisioning(process, alive);
    await batch.resume(alive);
    const { registered } = tallyOf(await eventually(process.store, batch, 'BatchCompleted'));
    expect(registered).toEqual(expect.arrayContaining(alive.registered()));
    expect(alive.registered()).toHaveLength(5);
  });

  test('that a provider refuses altogether fails, quotes it, and can be resumed', async () => {
    const process = await startProcess();
    const refusing = await simulate({ conflictRate: 1 });
    const provisioning = startProvisioning(process, refusing, { maxConflicts: 12 });
    const batch = await requestBatch(process.handler, refusing, 5);

    const events = await eventually(process.store, batch, 'BatchFailed');
    expect(events.findLast(({ type }) => type === 'BatchFailed')?.data).toMatchObject({
      reason:
        '12 DevEUIs in a row were refused and none was registered: ' +
        'the provider answered 422: {"error":"the DevEUI is in use"}',
    });
    await provisioning.stop();
    // Nothing was sent after that but what was in flight just then.
    expect(refusing.stats().requests).toBeLessThanOrEqual(12 + 4);

    const alive = await simulate();
    startProvisioning(process, alive);
    await batch.resume(alive);
    await eventually(process.store, batch, 'BatchCompleted');
    expect(alive.registered()).toHaveLength(5);
  });

  test('forgets no answer of the provider, whatever the store fails with', async () => {
    const process = await startProcess();
    const simulator = await simulate();
    const type = 'DevEuiRegistered';
    const error = new Error('canceling statement due to statement timeout');
    for (const when of ['before', 'before', 'after', 'before', 'before', 'before'] as const) {
      const moment = when === 'before' ? 'before it is stored' : 'after it was stored';
      process.store.failNextAppend('batch', moment, { type, error });
    }
    startProvisioning(process, simulator);
    const batch = await requestBatch(process.handler, simulator, 5, { concurrency: 2 });

    const events = await eventually(process.store, batch, 'BatchCompleted');

    const { registered, unconfirmed } = tallyOf(events);
    expect(unconfirmed).toEqual([]);
    expect(registered.toSorted()).toEqual(simulator.registered().toSorted());
  });

  test('fails when the prefix leaves no further DevEUI', async () => {
    const process = await startProcess();
    const simulator = await simulate({ conflictRate: 1 });
    startProvisioning(process, simulator);
    const batch = await requestBatch(process.handler, simulator, 16, { prefix: 'FFFFFFFFFFFFFFF' });

    await eventually(process.store, batch, 'BatchFailed');

    await vi.waitFor(async () => {
      const tally = tallyOf(await eventsOf(process.store, batch.stream));
      expect(tally.conflicted).toHaveLength(16);
    }, EVENTUALLY);
    expect(simulator.stats()).toMatchObject({ requests: 16, registered: 0 });
  });

  test('that is stopped sends nothing more, keeps what was in flight, and can be resumed', async () => {
    const process = await startProcess();
    const simulator = await simulate({ latencyMs: 50 });
    startProvisioning(process, simulator);
    const batch = await requestBatch(process.handler, simulator, 100);
    await expect.poll(() => simulator.registered().length, EVENTUALLY).toBeGreaterThan(5);

    await batch.execute({ type: 'stop' });
    await vi.waitFor(async () => {
      // What was to be sent just then was not, and remains to be asked for when it is resumed.
      const { state } = await process.handler.peek(batchDecider, batch.stream, 0);
      expect(isDone(state)).toBe(true);
      const tally = tallyOf(await eventsOf(process.store, batch.stream));
      expect(tally.registered.toSorted()).toEqual(simulator.registered().toSorted());
    }, EVENTUALLY);
    expect(simulator.registered().length).toBeLessThan(100);

    await batch.resume(simulator);
    const { registered } = tallyOf(await eventually(process.store, batch, 'BatchCompleted'));
    expect(registered.toSorted()).toEqual(simulator.registered().toSorted());
    expect(registered).toHaveLength(100);
  });

  test('that a process left behind continues in the next one', async () => {
    const first = await startProcess();
    const simulator = await simulate({ latencyMs: 30 });
    const provisioning = startProvisioning(first, simulator);
    const batch = await requestBatch(first.handler, simulator, 60);
    await expect.poll(() => simulator.registered().length, EVENTUALLY).toBeGreaterThan(5);
    await provisioning.stop();

    const second = await startProcess();
    startProvisioning(second, simulator);
    const events = await eventually(second.store, batch, 'BatchCompleted');
    const { registered, unconfirmed } = tallyOf(events);
    expect({ registered: registered.length, unconfirmed }).toEqual({
      registered: 60,
      unconfirmed: [],
    });
    expect(simulator.stats().requests).toBe(60);
  });

  test('with another provider waits until it is resumed with this one', async () => {
    const process = await startProcess();
    const [elsewhere, here] = [await simulate(), await simulate()];
    startProvisioning(process, here);
    const batch = await requestBatch(process.handler, elsewhere, 3);
    const own = await requestBatch(process.handler, here, 3);
    await eventually(process.store, own, 'BatchCompleted');
    expect(tallyOf(await eventsOf(process.store, batch.stream)).attempted.size).toBe(0);

    await batch.resume(here);
    await eventually(process.store, batch, 'BatchCompleted');
    expect(elsewhere.registered()).toEqual([]);
  });

  test(
    'is worked on by all ten again when the log was unavailable for one of them',
    { tags: ['slow'] },
    async () => {
      const process = await startProcess();
      const simulator = await simulate({ latencyMs: 100 });
      startProvisioning(process, simulator);
      const batch = await requestBatch(process.handler, simulator, 200);
      await expect.poll(() => simulator.stats().in_flight, EVENTUALLY).toBe(10);

      process.store.failNextAppend('batch', 'before it is stored');
      await expect
        .poll(() => process.store.appended.length && simulator.stats().in_flight, EVENTUALLY)
        .toBeLessThan(10);
      await expect.poll(() => simulator.stats().in_flight, EVENTUALLY).toBe(10);

      const { registered } = tallyOf(await eventually(process.store, batch, 'BatchCompleted'));
      expect(registered).toHaveLength(200);
    },
  );

  test('sends nothing more once another process may lead, however long an append took', async () => {
    const process = await startProcess();
    const simulator = await simulate();
    const lost = new AbortController();
    let terms = 0;
    startProvisioning(process, simulator, {
      lead: async (signal) => {
        terms += 1;
        if (terms === 1) return { lost: lost.signal, end: () => Promise.resolve() };
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        return undefined;
      },
    });
    await expect.poll(() => terms, EVENTUALLY).toBe(1);
    const batch = await requestBatch(process.handler, simulator, 3);
    const release = process.store.holdAppends('batch');
    await process.store.holdsOne();
    lost.abort();
    release();

    await expect.poll(() => terms, EVENTUALLY).toBe(2);
    expect(simulator.stats().requests).toBe(0);
    const { state } = await process.handler.peek(batchDecider, batch.stream, 0);
    expect(state).toMatchObject({ status: 'processing' });
  });

  test('loses no outcome while the log is unavailable', { tags: ['slow'] }, async () => {
    const process = await startProcess();
    const simulator = await simulate({ latencyMs: 10 });
    startProvisioning(process, simulator);
    const batch = await requestBatch(process.handler, simulator, 80);
    for (const when of ['before it is stored', 'after it was stored'] as const) {
      for (let fault = 0; fault < 3; fault += 1) {
        process.store.failNextAppend('batch', when);
        const before = simulator.registered().length;
        await expect
          .poll(() => simulator.registered().length, EVENTUALLY)
          .toBeGreaterThan(Math.min(before, 79));
      }
    }

    const events = await eventually(process.store, batch, 'BatchCompleted');
    const { registered, unconfirmed } = tallyOf(events, (tally) => {
      expect(isBalanced(tally, 80)).toBe(true);
    });
    expect(registered).toHaveLength(80);
    expect([...registered, ...unconfirmed].toSorted()).toEqual(simulator.registered().toSorted());
  });
});

describe('what is in flight according to the log, and is nobody’s', () => {
  test('is asked for again, also when it was begun behind the back of a run', async () => {
    const process = await startProcess();
    const simulator = await simulate({ latencyMs: 20 });
    startProvisioning(process, simulator);
    const batch = await requestBatch(process.handler, simulator, 60, { concurrency: 4 });
    await expect.poll(() => simulator.registered().length, EVENTUALLY).toBeGreaterThan(5);

    const before = tallyOf(await eventsOf(process.store, batch.stream)).attempted.size;
    await vi.waitFor(async () => {
      // Refused while four are open.
      await batch.execute({ type: 'begin', sentAt: new Date().toISOString() });
      const { attempted } = tallyOf(await eventsOf(process.store, batch.stream));
      expect(attempted.size).toBeGreaterThan(before);
    }, EVENTUALLY);

    const { registered } = tallyOf(await eventually(process.store, batch, 'BatchCompleted'));
    expect(registered.toSorted()).toEqual(simulator.registered().toSorted());
  });

  test('is ended when its batch was stopped, and whoever led died over that', async () => {
    const process = await startProcess();
    const simulator = await simulate();
    const batch = await requestBatch(process.handler, simulator, 5);
    await batch.execute({ type: 'begin', sentAt: new Date().toISOString() });
    await batch.execute({ type: 'stop' });

    startProvisioning(process, simulator);

    await vi.waitFor(async () => {
      const { state } = await process.handler.peek(batchDecider, batch.stream, 0);
      expect(isDone(state)).toBe(true);
    }, EVENTUALLY);
    expect(simulator.stats().requests).toBe(0);
  });

  test('is not asked for anew where another provider would be paid, too', async () => {
    const process = await startProcess();
    const [first, second] = [await simulate({ lostHangRate: 1 }), await simulate()];
    const leader = startProvisioning(process, first, { timeoutMs: 60_000 });
    const batch = await requestBatch(process.handler, first, 20);
    await expect.poll(() => first.registered().length, EVENTUALLY).toBe(10);

    startProvisioning(process, second);
    await batch.resume(second);

    const tally = tallyOf(await eventually(process.store, batch, 'BatchCompleted'));
    expect(tally.unconfirmed.toSorted()).toEqual(first.registered().toSorted());
    expect(tally.registered.toSorted()).toEqual(second.registered().toSorted());
    expect(tally.registered).toHaveLength(20);
    await first.close();
    await leader.stop();
  });
});

describe('several processes', () => {
  test('never have more than ten requests in flight together, and share the batches fairly', async () => {
    const processes = [await startProcess(), await startProcess(), await startProcess()];
    const simulator = await simulate({ latencyMs: 20, hangRate: 0.01, lostHangRate: 0.01 });
    for (const process of processes) startProvisioning(process, simulator, { timeoutMs: 300 });
    const [first] = processes;
    if (first === undefined) throw new Error('there is no process');
    const batches = await Promise.all(
      Array.from({ length: 12 }, () => requestBatch(first.handler, simulator, 25)),
    );

    const counts = new Set<number>();
    await vi.waitFor(async () => {
      let done = 0;
      for (const { stream } of batches) {
        const events = await eventsOf(first.store, stream);
        const { registered } = tallyOf(events, (tally) => expect(isBalanced(tally, 25)).toBe(true));
        counts.add(registered.length);
        if (events.at(-1)?.type === 'BatchCompleted') done += 1;
      }
      expect(done).toBe(12);
    }, EVENTUALLY);
    const ours: string[] = [];
    for (const { stream } of batches) {
      const { registered, unconfirmed } = tallyOf(await eventsOf(first.store, stream));
      expect(registered).toHaveLength(25);
      ours.push(...registered, ...unconfirmed);
    }
    expect(ours.toSorted()).toEqual(simulator.registered().toSorted());
    expect(simulator.stats().peak_in_flight).toBe(10);
  });

  test('share the ten also under several names and paths of one provider', async () => {
    const [first, second] = [await startProcess(), await startProcess()];
    const simulator = await simulate({ latencyMs: 20 });
    const elsewhere = { url: `http://localhost:${simulator.port}/v1/` };
    startProvisioning(first, simulator);
    startProvisioning(second, elsewhere);
    const batches = await Promise.all([
      requestBatch(first.handler, simulator, 40),
      requestBatch(second.handler, elsewhere, 40),
    ]);

    for (const batch of batches) {
      const { registered } = tallyOf(await eventually(first.store, batch, 'BatchCompleted'));
      expect(registered).toHaveLength(40);
    }
    expect(simulator.registered()).toHaveLength(80);
    expect(simulator.stats().peak_in_flight).toBe(10);
  });

  test('continue with each other’s batches when the one that leads gives up', async () => {
    const [first, second] = [await startProcess(), await startProcess()];
    const simulator = await simulate({ latencyMs: 20 });
    const leader = startProvisioning(first, simulator);
    startProvisioning(second, simulator);
    const batch = await requestBatch(first.handler, simulator, 60);
    await expect.poll(() => simulator.registered().length, EVENTUALLY).toBeGreaterThan(5);

    await leader.stop();
    const { registered } = tallyOf(await eventually(second.store, batch, 'BatchCompleted'));

    expect(registered.toSorted()).toEqual(simulator.registered().toSorted());
    expect(simulator.stats().peak_in_flight).toBeLessThanOrEqual(10);
  });

  test(
    'that lose their leadership break off what is in flight, and ask about it when they lead again',
    { tags: ['slow'] },
    async () => {
      const process = await startProcess();
      const simulator = await simulate({ latencyMs: 30, lostHangRate: 0.2 });
      let lose: (() => void) | undefined;
      const provisioning = startProvisioning(process, simulator, {
        timeoutMs: 1_500,
        lead: () => {
          const lost = new AbortController();
          lose = () => lost.abort();
          return Promise.resolve({ lost: lost.signal, end: () => Promise.resolve() });
        },
      });
      const batch = await requestBatch(process.handler, simulator, 40);
      await expect.poll(() => simulator.registered().length, EVENTUALLY).toBeGreaterThan(15);

      lose?.();
      const events = await eventually(process.store, batch, 'BatchCompleted');

      const { registered, unconfirmed } = tallyOf(events);
      expect([...registered, ...unconfirmed].toSorted()).toEqual(simulator.registered().toSorted());
      expect(registered).toHaveLength(40);
      await provisioning.stop();
    },
  );
});
