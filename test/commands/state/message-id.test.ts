import { randomUUID } from 'node:crypto';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { CommandContext } from '../../../src/commands/core/context.ts';
import { sensorDecider } from '../../../src/commands/state/decider.ts';
import {
  sensorStream,
  StateCommands,
  type PatchResult,
} from '../../../src/commands/state/commands.ts';
import type { JsonObject } from '../../../src/shared/json.ts';
import {
  context,
  EVENTUALLY,
  prepareWriteProcesses,
  type WriteProcess,
} from '../core/write-process.ts';

const startWriteProcess = prepareWriteProcesses();

interface StateProcess extends WriteProcess {
  readonly commands: StateCommands;
}

async function start(): Promise<StateProcess> {
  const process = await startWriteProcess();
  return { ...process, commands: new StateCommands(process) };
}

let sensors = 0;

/** A sensor of the test's own, which goes by message ids. */
async function newSensor({ commands }: StateProcess): Promise<string> {
  sensors += 1;
  const sensorId = `hall/${sensors}`;
  await commands.setSensorDedup(sensorId, { strategy: 'message-id' }, context);
  return sensorId;
}

function send(
  { commands }: StateProcess,
  sensorId: string,
  messageId: string | undefined,
  patch: JsonObject = { on: true },
  extra: Partial<CommandContext> = {},
): Promise<PatchResult> {
  const incoming = { patch, receivedAt: new Date(), ...(messageId !== undefined && { messageId }) };
  return commands.patch(sensorId, incoming, { ...context, ...extra });
}

/** The message ids of the patches that a sensor took, in order. */
async function taken({ store }: StateProcess, sensorId: string): Promise<unknown[]> {
  const ids: unknown[] = [];
  for await (const { type, data } of store.readStream(sensorStream('acme', sensorId))) {
    if (type === 'SensorPatched') ids.push(data['messageId']);
  }
  return ids;
}

/** Other traffic of the sensor. */
async function sendOthers(process: StateProcess, sensorId: string, count: number): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, (_, ordinal) =>
      send(process, sensorId, undefined, { other: ordinal }),
    ),
  );
}

const patched = expect.objectContaining({ outcome: 'patched' });
const deduplicated = { outcome: 'deduplicated', by: 'message-id' };

describe('a message that arrives again', () => {
  test('is not taken twice, and is answered where the first one stands', async () => {
    const process = await start();
    const sensorId = await newSensor(process);

    const first = await send(process, sensorId, 'm1');
    const again = await send(process, sensorId, 'm1');

    expect(first).toEqual(patched);
    expect(again).toEqual({ ...first, ...deduplicated });
    expect(await taken(process, sensorId)).toEqual(['m1']);
  });

  test('is not taken twice when its content differs: the first counts', async () => {
    const process = await start();
    const sensorId = await newSensor(process);

    await send(process, sensorId, 'm1', { a: 1 });
    expect(await send(process, sensorId, 'm1', { a: 2 })).toMatchObject(deduplicated);

    const { state } = await process.handler.peek(sensorDecider, sensorStream('acme', sensorId), 0);
    expect(state.current).toEqual({ a: 1 });
  });

  test('is not taken twice by another process, nor after a restart', async () => {
    const [process, other] = [await start(), await start()];
    const sensorId = await newSensor(process);
    const first = await send(process, sensorId, 'm1');

    for (const again of [other, await start()]) {
      expect(await send(again, sensorId, 'm1')).toEqual({ ...first, ...deduplicated });
    }
    expect(await taken(process, sensorId)).toEqual(['m1']);
  });

  test('is not taken twice by a process that saw the sensor before the message', async () => {
    const [process, other] = [await start(), await start()];
    const sensorId = await newSensor(process);
    await send(other, sensorId, 'm0');
    const first = await send(process, sensorId, 'm1');

    expect(await send(other, sensorId, 'm1')).toEqual({ ...first, ...deduplicated });
    expect(await taken(process, sensorId)).toEqual(['m0', 'm1']);
  });

  test('is not taken twice after 300 other patches, in any process', async () => {
    const [process, other] = [await start(), await start()];
    const sensorId = await newSensor(process);
    const first = await send(process, sensorId, 'm1');
    await sendOthers(process, sensorId, 300);

    for (const again of [process, other, await start()]) {
      expect(await send(again, sensorId, 'm1')).toEqual({ ...first, ...deduplicated });
    }
    expect(await taken(process, sensorId)).toHaveLength(301);
  });

  test('is found without reading the patches after it', async () => {
    const process = await start();
    const sensorId = await newSensor(process);
    await send(process, sensorId, 'm1');
    await sendOthers(process, sensorId, 300);
    process.store.reads.length = 0;

    await send(process, sensorId, 'm1');

    const ofSensor = process.store.reads.filter(({ stream }) => stream.startsWith('sensor-'));
    expect(ofSensor.map(({ options }) => options)).toEqual([{ from: 1n }]);
  });

  test('is taken once when it arrives 20 times at once in two processes', async () => {
    const processes = [await start(), await start()];
    const sensorId = await newSensor(processes[0]!);

    const results = await Promise.all(
      processes.flatMap((process) =>
        Array.from({ length: 20 }, () => send(process, sensorId, 'm1')),
      ),
    );

    expect(await taken(processes[0]!, sensorId)).toEqual(['m1']);
    expect(results.filter(({ outcome }) => outcome === 'patched')).toHaveLength(1);
    expect(new Set(results.map(({ revision }) => revision))).toEqual(new Set([1n]));
  });

  test('is taken once when it arrives 20 times at once while the sensor is busy', async () => {
    const process = await start();
    const sensorId = await newSensor(process);
    const release = process.store.holdAppends('sensor');
    const busy = send(process, sensorId, 'm0');
    await process.store.holdsOne();
    const copies = Array.from({ length: 20 }, () => send(process, sensorId, 'm1'));
    await vi.waitFor(() => expect(claims(process, 'm1')).toBe(20), EVENTUALLY);
    release();

    await busy;
    const results = await Promise.all(copies);
    expect(await taken(process, sensorId)).toEqual(['m0', 'm1']);
    expect(results.filter(({ outcome }) => outcome === 'patched')).toHaveLength(1);
  });
});

/** How often a message was claimed, or tried to be. */
function claims({ store }: StateProcess, messageId: string): number {
  return store.appended.filter(({ write }) => `${write.stream}/`.includes(`/${messageId}/`)).length;
}

describe('patches that are sent at once', () => {
  test('are taken in the order in which they were sent, whether they claim a message or not', async () => {
    const process = await start();
    const sensorId = await newSensor(process);
    const ids = ['m1', undefined, 'm2', 'm3', undefined, undefined, 'm4'];

    await Promise.all(ids.map((id) => send(process, sensorId, id)));

    expect(await taken(process, sensorId)).toEqual(ids);
  });

  test('keep their order when the claim of one is slow and the claim behind it fails', async () => {
    const process = await start();
    const sensorId = await newSensor(process);
    const release = process.store.holdAppends('message');
    const slow = send(process, sensorId, 'm1', { n: 1 });
    await process.store.holdsOne();
    process.store.holdAppends('no category: later claims are not held up');
    process.store.failNextAppend('message', 'before it is stored');
    const failing = send(process, sensorId, 'm2', { n: 2 });
    const last = send(process, sensorId, undefined, { n: 3 });
    await expect(failing).rejects.toMatchObject({ code: 'store-unavailable' });
    release();

    await Promise.all([slow, last]);
    expect(await taken(process, sensorId)).toEqual(['m1', undefined]);
  });
});

describe('what is no repetition', () => {
  test('another message with the same content is taken', async () => {
    const process = await start();
    const sensorId = await newSensor(process);

    expect(await send(process, sensorId, 'm1')).toEqual(patched);
    expect(await send(process, sensorId, 'm2')).toEqual(patched);
    expect(await taken(process, sensorId)).toEqual(['m1', 'm2']);
  });

  test('a patch without a message id is taken each time', async () => {
    const process = await start();
    const sensorId = await newSensor(process);

    expect(await send(process, sensorId, undefined)).toEqual(patched);
    expect(await send(process, sensorId, undefined)).toEqual(patched);
    expect(await taken(process, sensorId)).toHaveLength(2);
  });

  test('the same message id at another sensor, or in another project, is another message', async () => {
    const process = await start();
    const [one, other] = [await newSensor(process), await newSensor(process)];
    await process.commands.setSensorDedup(
      one,
      { strategy: 'message-id' },
      { ...context, projectId: 'another' },
    );

    expect(await send(process, one, 'm1')).toEqual(patched);
    expect(await send(process, other, 'm1')).toEqual(patched);
    const elsewhere = await send(process, one, 'm1', { on: true }, { projectId: 'another' });
    expect(elsewhere).toEqual(patched);
  });

  test('sensor and message are told apart, whatever is in their ids', async () => {
    const process = await start();
    const [one, other] = [randomUUID(), 'b/c'];
    for (const sensorId of [one, `${one}/b`]) {
      await process.commands.setSensorDedup(sensorId, { strategy: 'message-id' }, context);
    }

    expect(await send(process, one, other)).toEqual(patched);
    expect(await send(process, `${one}/b`, 'c')).toEqual(patched);
  });

  test('a message id makes no difference to a sensor that does not go by it', async () => {
    const process = await start();
    const sensorId = randomUUID();

    expect(await send(process, sensorId, 'm1', { a: 1 })).toEqual(patched);
    expect(await send(process, sensorId, 'm1', { a: 1 })).toMatchObject({ by: 'unchanged' });
    expect(await send(process, sensorId, 'm1', { a: 2 })).toEqual(patched);
    expect(claims(process, 'm1')).toBe(0);
  });
});

describe('between the claim and the patch', () => {
  test.each(['before it is stored', 'after it was stored'] as const)(
    'the store goes away (%s): the message is taken once when it arrives again',
    async (when) => {
      const process = await start();
      const sensorId = await newSensor(process);
      process.store.failNextAppend('sensor', when);
      await expect(send(process, sensorId, 'm1')).rejects.toMatchObject({
        code: 'store-unavailable',
      });

      const again = await send(process, sensorId, 'm1');

      expect(again.outcome).toBe(when === 'before it is stored' ? 'patched' : 'deduplicated');
      expect(await send(process, sensorId, 'm1')).toMatchObject(deduplicated);
      expect(await taken(process, sensorId)).toEqual(['m1']);
    },
  );

  test('the process dies: another one takes the message, also after other patches', async () => {
    const [process, other] = [await start(), await start()];
    const sensorId = await newSensor(process);
    process.store.failNextAppend('sensor', 'before it is stored');
    await expect(send(process, sensorId, 'm1')).rejects.toThrow();
    await sendOthers(other, sensorId, 70);

    expect(await send(other, sensorId, 'm1')).toEqual(patched);
    expect(await send(await start(), sensorId, 'm1')).toMatchObject(deduplicated);
    expect((await taken(other, sensorId)).filter((id) => id === 'm1')).toHaveLength(1);
  });

  test('the process dies: of 20 copies in two processes one is taken', async () => {
    const [process, other] = [await start(), await start()];
    const sensorId = await newSensor(process);
    process.store.failNextAppend('sensor', 'before it is stored');
    await expect(send(process, sensorId, 'm1')).rejects.toThrow();

    const results = await Promise.all(
      [process, other].flatMap((one) =>
        Array.from({ length: 20 }, () => send(one, sensorId, 'm1')),
      ),
    );

    expect(await taken(process, sensorId)).toEqual(['m1']);
    expect(results.filter(({ outcome }) => outcome === 'patched')).toHaveLength(1);
  });

  test('the claim fails: the message is taken when it arrives again', async () => {
    const process = await start();
    const sensorId = await newSensor(process);
    process.store.failNextAppend('message', 'after it was stored');
    await expect(send(process, sensorId, 'm1')).rejects.toThrow();

    expect(await send(process, sensorId, 'm1')).toEqual(patched);
    expect(await taken(process, sensorId)).toEqual(['m1']);
  });
});

describe('a message within a request that is repeated', () => {
  test('is answered as the first time, not as a redelivery', async () => {
    const [process, other] = [await start(), await start()];
    const sensorId = await newSensor(process);
    const identity = { id: randomUUID(), reservedAt: await process.store.head() };
    const first = await send(process, sensorId, 'm1', { a: 1 }, { identity });
    await sendOthers(process, sensorId, 5);

    for (const again of [process, other, await start()]) {
      expect(await send(again, sensorId, 'm1', { a: 1 }, { identity })).toEqual(first);
    }
    expect(await send(process, sensorId, 'm1')).toEqual({ ...first, ...deduplicated });
    expect(await taken(process, sensorId)).toHaveLength(6);
  });

  test('is a redelivery when the message came first in another request', async () => {
    const process = await start();
    const sensorId = await newSensor(process);
    const first = await send(process, sensorId, 'm1');
    const identity = { id: randomUUID(), reservedAt: await process.store.head() };

    for (let count = 0; count < 2; count += 1) {
      expect(await send(process, sensorId, 'm1', { on: true }, { identity })).toEqual({
        ...first,
        ...deduplicated,
      });
    }
  });
});

describe('when another process sets the strategy', () => {
  test('it counts within a second, also for a sensor that this process knows', async () => {
    const [process, other] = [await start(), await start()];
    const sensorId = randomUUID();
    await send(other, sensorId, 'm0');
    await process.commands.setSensorDedup(sensorId, { strategy: 'message-id' }, context);
    const now = vi.spyOn(performance, 'now');
    onTestFinished(() => now.mockRestore());
    const later = performance.now() + 1_001;
    now.mockImplementation(() => later);

    expect(await send(other, sensorId, 'm1')).toEqual(patched);
    now.mockRestore();
    expect(await send(other, sensorId, 'm1')).toMatchObject(deduplicated);
    expect(await taken(process, sensorId)).toEqual(['m0', 'm1']);
  });

  test('that of a project counts within a second', async () => {
    const [process, other] = [await start(), await start()];
    const ofProject = { ...context, projectId: 'changing' };
    const sensorId = randomUUID();
    await send(other, sensorId, 'm0', {}, ofProject);
    await process.commands.setProjectDedup({ strategy: 'message-id' }, ofProject);
    const now = vi.spyOn(performance, 'now');
    onTestFinished(() => now.mockRestore());
    const later = performance.now() + 1_001;
    now.mockImplementation(() => later);

    expect(await send(other, sensorId, 'm1', {}, ofProject)).toEqual(patched);
    now.mockRestore();
    expect(await send(other, sensorId, 'm1', {}, ofProject)).toMatchObject(deduplicated);
  });

  test('in this process it counts at once', async () => {
    const process = await start();
    const ofProject = { ...context, projectId: 'own' };
    const sensorId = randomUUID();
    await send(process, sensorId, 'm0', {}, ofProject);

    await process.commands.setProjectDedup({ strategy: 'message-id' }, ofProject);

    expect(await send(process, sensorId, 'm1', {}, ofProject)).toEqual(patched);
    expect(await send(process, sensorId, 'm1', {}, ofProject)).toMatchObject(deduplicated);
  });
});
