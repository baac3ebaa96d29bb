import { randomBytes, randomUUID } from 'node:crypto';
import { describe, expect, test, vi } from 'vitest';
import { mintKey, mintSecret } from '../../../src/commands/tenancy/api-keys.ts';
import {
  IdempotentRequests,
  type IdempotentRequest,
  type KeptAnswer,
  type RepeatableRun,
  type Replay,
} from '../../../src/commands/core/idempotent-requests.ts';
import { projectDecider, projectStream } from '../../../src/commands/tenancy/project-decider.ts';
import { BEGINNING, type RecordedEvent } from '../../../src/event-store/port.ts';
import { streamName } from '../../../src/event-store/stream-name.ts';
import { LedgerError } from '../../../src/shared/errors.ts';
import { sha256 } from '../../../src/shared/ids.ts';
import { closedGate } from '../../gate.ts';
import { EVENTUALLY, prepareWriteProcesses, type WriteProcess } from './write-process.ts';

const startWriteProcess = prepareWriteProcesses();
const INSTALLATION_SECRET = randomBytes(32);

interface RequestProcess extends WriteProcess {
  readonly requests: IdempotentRequests;
}

let minutes = 0;

async function start(secret = INSTALLATION_SECRET): Promise<RequestProcess> {
  const process = await startWriteProcess();
  // No two processes agree on the time.
  minutes += 1;
  const now = new Date(Date.UTC(2026, 0, 31, 12, minutes));
  return { ...process, requests: new IdempotentRequests(process.store, secret, () => now) };
}

function newRequest(extra: Partial<IdempotentRequest> = {}): IdempotentRequest {
  return {
    projectId: `p${randomBytes(6).toString('hex')}`,
    idempotencyKey: `idempotency-${randomUUID()}`,
    requestDigest: sha256('{"name":"Ada"}'),
    route: 'POST /members',
    actor: 'k1',
    correlationId: 'r1',
    ...extra,
  };
}

/** What a request does: makes a project, and issues another key to its owner. */
function makeProject({ handler }: WriteProcess, { projectId, actor }: IdempotentRequest) {
  return async ({ now, entropy, identity }: RepeatableRun): Promise<KeptAnswer> => {
    const [first, second] = ['first', 'second'].map((label) =>
      mintKey('mem', entropy, now, label),
    ) as [ReturnType<typeof mintKey>, ReturnType<typeof mintKey>];
    const context = { projectId, actor, correlationId: 'r1' };
    const stream = projectStream(projectId);
    await handler.execute(
      projectDecider,
      stream,
      {
        type: 'create',
        projectId,
        name: 'Acme',
        createdAt: now.toISOString(),
        owner: { memberId: 'ada', name: 'Ada', key: first.newKey },
      },
      { ...context, identity: identity('create') },
    );
    const issued = await handler.execute(
      projectDecider,
      stream,
      { type: 'issue-key', memberId: 'ada', key: second.newKey },
      { ...context, identity: identity('issue') },
    );
    return {
      status: 201,
      headers: { ETag: `"${issued.revision}"` },
      body: { id: projectId, created_at: now.toISOString(), revision: Number(issued.revision) },
      shownKeys: [{ path: ['key'], kind: 'mem', keyId: second.apiKey.id, label: 'second' }],
      position: issued.position,
    };
  };
}

/** What is shown of a replay to whoever sent the request: the answer, and the secret in it. */
function shown({ answer, entropy }: Replay) {
  return { answer, secret: mintSecret(entropy, 'second') };
}

async function eventsOf({ store }: WriteProcess, projectId: string): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of store.readStream(projectStream(projectId))) events.push(event);
  return events;
}

const EFFECTS = ['ProjectCreated', 'MemberAdded', 'KeyIssued', 'KeyIssued'];

async function effects(process: WriteProcess, projectId: string): Promise<string[]> {
  return (await eventsOf(process, projectId)).map(({ type }) => type);
}

const away = (): LedgerError =>
  new LedgerError('store-unavailable', 'The database is unavailable.');

describe('a request that is sent again', () => {
  test('is answered as the first time, and does nothing', async () => {
    const process = await start();
    const request = newRequest();
    const first = await process.requests.run(request, makeProject(process, request));
    const work = vi.fn<ReturnType<typeof makeProject>>(makeProject(process, request));

    const again = await process.requests.run(request, work);

    expect([first.isReplayed, again.isReplayed]).toEqual([false, true]);
    expect(shown(again)).toEqual(shown(first));
    expect(work).not.toHaveBeenCalled();
    expect(await effects(process, request.projectId)).toEqual(EFFECTS);
  });

  test('is answered as the first time by another process, and after a restart', async () => {
    const process = await start();
    const request = newRequest();
    const first = await process.requests.run(request, makeProject(process, request));

    const other = await start();
    const again = await other.requests.run(request, makeProject(other, request));

    expect(again.isReplayed).toBe(true);
    expect(shown(again)).toEqual(shown(first));
    expect(again.answer.position).toBe(first.answer.position);
    expect(await effects(process, request.projectId)).toEqual(EFFECTS);
  });

  test('is answered as the first time when that was a refusal', async () => {
    const process = await start();
    const request = newRequest();
    const refusal: KeptAnswer = {
      status: 409,
      headers: {},
      body: { code: 'last-owner' },
      shownKeys: [],
      position: null,
    };
    await process.requests.run(request, async () => refusal);

    const again = await process.requests.run(request, makeProject(process, request));

    expect(again).toMatchObject({ answer: refusal, isReplayed: true });
    expect(await effects(process, request.projectId)).toEqual([]);
  });

  test('shows the secret to nobody with another installation secret', async () => {
    const [process, other] = [await start(), await start(randomBytes(32))];
    const request = newRequest();
    const first = await process.requests.run(request, makeProject(process, request));

    const again = await other.requests.run(request, makeProject(other, request));

    expect(again.answer).toEqual(first.answer);
    expect(shown(again).secret).not.toBe(shown(first).secret);
  });
});

describe('another request', () => {
  test('with the same key is refused, in this process and in others', async () => {
    const [process, other] = [await start(), await start()];
    const request = newRequest();
    await process.requests.run(request, makeProject(process, request));
    const reusing = { ...request, requestDigest: sha256('{"name":"Eve"}') };
    const work = vi.fn<ReturnType<typeof makeProject>>(makeProject(process, reusing));

    for (const { requests } of [process, other]) {
      await expect(requests.run(reusing, work)).rejects.toMatchObject({
        code: 'idempotency-key-reused',
      });
    }
    expect(work).not.toHaveBeenCalled();
  });

  test('with the same key is refused while the first is running', async () => {
    const [process, other] = [await start(), await start()];
    const request = newRequest();
    const gate = closedGate();
    const first = process.requests.run(request, async (run) => {
      await gate.passed;
      return makeProject(process, request)(run);
    });
    await vi.waitFor(() => expect(process.store.appended).toHaveLength(1), EVENTUALLY);

    for (const one of [process, other]) {
      const reusing = { ...request, requestDigest: sha256('other') };
      await expect(one.requests.run(reusing, makeProject(one, reusing))).rejects.toMatchObject({
        code: 'idempotency-key-reused',
      });
    }
    gate.open();
    expect(await first).toMatchObject({ isReplayed: false, answer: { status: 201 } });
  });

  test('with the same key is refused after the first died', async () => {
    const process = await start();
    const request = newRequest();
    await expect(process.requests.run(request, () => Promise.reject(away()))).rejects.toThrow();

    const reusing = { ...request, requestDigest: sha256('other') };
    await expect(
      process.requests.run(reusing, makeProject(process, reusing)),
    ).rejects.toMatchObject({ code: 'idempotency-key-reused' });
  });

  test('with the same key in another project is another request', async () => {
    const process = await start();
    const request = newRequest();
    const elsewhere = newRequest({ idempotencyKey: request.idempotencyKey });

    const one = await process.requests.run(request, makeProject(process, request));
    const other = await process.requests.run(elsewhere, makeProject(process, elsewhere));

    expect([one.isReplayed, other.isReplayed]).toEqual([false, false]);
    expect(shown(one).secret).not.toBe(shown(other).secret);
  });

  test('with another key and the same content is run, with ids and secrets of its own', async () => {
    const process = await start();
    const request = newRequest();
    const repeated = newRequest({ requestDigest: request.requestDigest });

    const one = await process.requests.run(request, makeProject(process, request));
    const other = await process.requests.run(repeated, makeProject(process, repeated));

    expect(other.isReplayed).toBe(false);
    expect(other.answer.shownKeys[0]?.keyId).not.toBe(one.answer.shownKeys[0]?.keyId);
    expect(shown(other).secret).not.toBe(shown(one).secret);
  });
});

describe('what a request draws', () => {
  test('differs by project, by key and by content', async () => {
    const { requests } = await start();
    const request = newRequest();
    const others = [
      request,
      newRequest({ idempotencyKey: request.idempotencyKey }),
      { ...request, idempotencyKey: 'another' },
      { ...request, idempotencyKey: 'a third', requestDigest: sha256('other') },
    ];

    const runs = await Promise.all(others.map((one) => requests.reserve(one)));

    const bytes = runs.map(({ entropy }) => entropy('key:secret', 32).toString('hex'));
    expect(new Set(bytes).size).toBe(others.length);
    expect(new Set(runs.map(({ identity }) => identity('key').id)).size).toBe(others.length);
  });
});

describe('a request that is sent 20 times at once', () => {
  test('to one process runs once', async () => {
    const process = await start();
    const request = newRequest();
    const work = vi.fn<ReturnType<typeof makeProject>>(makeProject(process, request));

    const replays = await Promise.all(
      Array.from({ length: 20 }, () => process.requests.run(request, work)),
    );

    expect(work).toHaveBeenCalledTimes(1);
    expect(replays.filter(({ isReplayed }) => !isReplayed)).toHaveLength(1);
    for (const replay of replays) expect(shown(replay)).toEqual(shown(replays[0]!));
  });

  test('to two processes has its effects once, and all answers are alike', async () => {
    const processes = [await start(), await start()];
    const request = newRequest();

    const replays = await Promise.all(
      processes.flatMap((process) =>
        Array.from({ length: 20 }, () =>
          process.requests.run(request, makeProject(process, request)),
        ),
      ),
    );

    expect(await effects(processes[0]!, request.projectId)).toEqual(EFFECTS);
    expect(replays.filter(({ isReplayed }) => !isReplayed)).toHaveLength(1);
    for (const replay of replays) expect(shown(replay)).toEqual(shown(replays[0]!));
  });

  test('to two processes that both run it has its effects once, and one answer', async () => {
    const processes = [await start(), await start()] as const;
    const request = newRequest();
    let running = 0;
    const bothRun = closedGate();

    const replays = await Promise.all(
      processes.map((process) =>
        process.requests.run(request, async (run) => {
          running += 1;
          if (running === 2) bothRun.open();
          await bothRun.passed;
          return makeProject(process, request)(run);
        }),
      ),
    );

    expect(running).toBe(2);
    expect(await effects(processes[0], request.projectId)).toEqual(EFFECTS);
    expect(replays.filter(({ isReplayed }) => isReplayed)).toHaveLength(1);
    expect(shown(replays[1]!)).toEqual(shown(replays[0]!));
  });
});

describe('an answer with a large body', () => {
  test('is kept once by twins that keep it at the same time, and given again whole', async () => {
    const processes = [await start(), await start()];
    for (let round = 0; round < 15; round += 1) {
      const request = newRequest();
      const work = async (): Promise<KeptAnswer> => ({
        status: 200,
        headers: {},
        body: { text: '"x€'.repeat(150_000) },
        shownKeys: [],
        position: null,
      });
      const replays = await Promise.all(
        processes.map(({ requests }) => requests.run(request, work)),
      );
      expect(replays.filter(({ isReplayed }) => !isReplayed)).toHaveLength(1);
      const again = await (await start()).requests.run(request, work);
      for (const replay of [...replays, again]) {
        expect(replay.answer.body).toEqual((await work()).body);
      }
    }
  });
});

describe('an answer that shows many keys', () => {
  test('is kept, and shows them again', async () => {
    const process = await start();
    const request = newRequest();
    const work = async ({ entropy, now }: RepeatableRun): Promise<KeptAnswer> => ({
      status: 200,
      headers: {},
      body: { results: Array.from({ length: 10_000 }, (_, row) => ({ row, status: 201 })) },
      shownKeys: Array.from({ length: 10_000 }, (_, index) => {
        const label = `key ${index}`;
        const keyId = mintKey('dev', entropy, now, label).apiKey.id;
        return { path: ['results', String(index), 'key'], kind: 'dev', keyId, label };
      }),
      position: null,
    });
    const first = await process.requests.run(request, work);
    const again = await (await start()).requests.run(request, work);

    expect(again.isReplayed).toBe(true);
    expect(again.answer).toEqual(first.answer);
    expect(again.answer.shownKeys).toHaveLength(10_000);
    const secrets = (replay: Replay): string[] =>
      replay.answer.shownKeys.map(({ label }) => mintSecret(replay.entropy, label));
    expect(secrets(again)).toEqual(secrets(first));
    // Each event is an append, and those have a limit.
    const stream = streamName('request', request.projectId, sha256(request.idempotencyKey));
    for await (const { data } of process.store.readStream(stream)) {
      expect(JSON.stringify(data).length).toBeLessThan(200_000);
    }
  });
});

describe('a request that died', () => {
  test('after its commands were stored is answered as it would have been, and stores nothing', async () => {
    const process = await start();
    const request = newRequest();
    let wouldHaveBeen: KeptAnswer | undefined;
    const dying = process.requests.run(request, async (run) => {
      wouldHaveBeen = await makeProject(process, request)(run);
      throw away();
    });
    await expect(dying).rejects.toMatchObject({ code: 'store-unavailable' });
    const before = await eventsOf(process, request.projectId);

    for (const again of [await start(), process]) {
      const { answer } = await again.requests.run(request, makeProject(again, request));
      expect(answer).toEqual(wouldHaveBeen);
    }
    expect(await eventsOf(process, request.projectId)).toEqual(before);
    expect(before.map(({ type }) => type)).toEqual(EFFECTS);
  });

  test('between two commands runs the second alone', async () => {
    const process = await start();
    const request = newRequest();
    const work = makeProject(process, request);
    const dying = process.requests.run(request, async (run) => {
      const died = work({
        ...run,
        identity(label) {
          if (label === 'issue') throw away();
          return run.identity(label);
        },
      });
      return died;
    });
    await expect(dying).rejects.toMatchObject({ code: 'store-unavailable' });
    expect(await effects(process, request.projectId)).toEqual(EFFECTS.slice(0, 3));

    const other = await start();
    const again = await other.requests.run(request, makeProject(other, request));

    expect(again).toMatchObject({ isReplayed: true, answer: { status: 201 } });
    expect(await effects(process, request.projectId)).toEqual(EFFECTS);
    const keys = (await eventsOf(process, request.projectId)).filter(
      ({ type }) => type === 'KeyIssued',
    );
    // One request, one time and one seed: the key that was stored last is the one that is shown.
    expect(keys.map(({ data }) => data['issuedAt'])).toEqual([
      keys[0]?.data['issuedAt'],
      keys[0]?.data['issuedAt'],
    ]);
    expect(keys[1]?.data['secretHash']).toBe(sha256(shown(again).secret));
  });

  test.each(['before it is stored', 'after it was stored'] as const)(
    'at its reservation (%s) is run when it is sent again',
    async (when) => {
      const process = await start();
      const request = newRequest();
      process.store.failNextAppend('request', when);
      await expect(process.requests.run(request, makeProject(process, request))).rejects.toThrow();

      const again = await process.requests.run(request, makeProject(process, request));

      expect(again).toMatchObject({
        isReplayed: when === 'after it was stored',
        answer: { status: 201 },
      });
      expect(await effects(process, request.projectId)).toEqual(EFFECTS);
    },
  );

  test('while its answer was being kept is answered with that answer', async () => {
    const process = await start();
    const request = newRequest();
    const work = makeProject(process, request);
    const dying = process.requests.run(request, async (run) => {
      const answer = await work(run);
      process.store.failNextAppend('request', 'after it was stored');
      return answer;
    });
    await expect(dying).rejects.toMatchObject({ code: 'store-unavailable' });

    const again = await process.requests.run(request, work);

    expect(again).toMatchObject({ isReplayed: true, answer: { status: 201 } });
    expect(await effects(process, request.projectId)).toEqual(EFFECTS);
  });

  test('gives its copies that waited for it the same error, and none of them an answer', async () => {
    const process = await start();
    const request = newRequest();

    const results = await Promise.allSettled(
      Array.from({ length: 5 }, () => process.requests.run(request, () => Promise.reject(away()))),
    );

    expect(results.map(({ status }) => status)).toEqual(Array(5).fill('rejected'));
    const again = await process.requests.run(request, makeProject(process, request));
    expect(again.isReplayed).toBe(true);
  });

  test('draws the same time, ids and secrets when it is run again, whoever runs it', async () => {
    const [process, other] = [await start(), await start()];
    const request = newRequest();
    const runs: RepeatableRun[] = [];
    for (const { requests } of [process, other, process]) {
      await expect(
        requests.run(request, (run) => {
          runs.push(run);
          return Promise.reject(away());
        }),
      ).rejects.toThrow();
    }

    const drawn = runs.map(({ now, entropy, identity }) => ({
      now,
      bytes: [entropy('a', 64).toString('hex'), entropy('b', 12).toString('hex')],
      identities: [identity('a'), identity('b')],
    }));
    expect(drawn).toHaveLength(3);
    expect(drawn[1]).toEqual(drawn[0]);
    expect(drawn[2]).toEqual(drawn[0]);
    expect(drawn[0]?.bytes[0]).not.toContain(drawn[0]?.bytes[1]);
    expect(drawn[0]?.identities[0]?.id).not.toBe(drawn[0]?.identities[1]?.id);
  });
});

describe('a request whose body is streamed', () => {
  test('names its records by its key, the same when it is sent again', async () => {
    const [process, other] = [await start(), await start()];
    const request = newRequest();

    const first = await process.requests.reserve(request);
    const again = await other.requests.reserve(request);

    expect([first.isReplayed, again.isReplayed]).toEqual([false, true]);
    expect(again.now).toEqual(first.now);
    expect(again.identity('line:1')).toEqual(first.identity('line:1'));
    expect(again.identity('line:1').id).not.toBe(first.identity('line:2').id);
  });

  test('is refused when its key belongs to another', async () => {
    const process = await start();
    const request = newRequest();
    await process.requests.reserve(request);

    await expect(
      process.requests.reserve({ ...request, requestDigest: sha256('other') }),
    ).rejects.toMatchObject({ code: 'idempotency-key-reused' });
  });
});

describe('the log', () => {
  test('holds neither the idempotency key nor a secret, but their hashes', async () => {
    const process = await start();
    const request = newRequest();
    const replay = await process.requests.run(request, makeProject(process, request));
    const { secret } = shown(replay);
    const ownerSecret = mintSecret(replay.entropy, 'first');

    const texts: string[] = [];
    for await (const { events } of process.store.readAll({ after: BEGINNING })) {
      for (const { stream, type, data, metadata } of events) {
        texts.push(JSON.stringify([stream, type, data, metadata]));
      }
    }
    const log = texts.join('\n');

    expect(log).toContain(sha256(request.idempotencyKey));
    for (const hidden of [secret, ownerSecret]) expect(log).toContain(sha256(hidden));
    const hidden = [request.idempotencyKey, secret, ownerSecret];
    for (const encoding of ['hex', 'base64', 'base64url', 'latin1'] as const) {
      hidden.push(INSTALLATION_SECRET.toString(encoding));
    }
    for (const text of hidden) expect(log).not.toContain(text);
  });
});
