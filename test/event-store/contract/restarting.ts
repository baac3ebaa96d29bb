import { expect, test, vi } from 'vitest';
import type { LogUnderTest } from '../contract.ts';
import { Follower } from './follower.ts';
import { isAnsweredAgain } from './repeating.ts';
import { appendUntilAnswered, mustAppend, stored, TestProject } from './test-project.ts';

export function restarting(log: LogUnderTest): void {
  test('the same ids at the same revision again get the first answer', async ({ skip }) => {
    const restartServer = log.faults?.restartServer ?? skip('needs the fault restartServer');
    const project = new TestProject();
    const stream = project.stream('device');
    const [first, second] = [project.events(3), project.events(2)];
    const answerToFirst = await mustAppend(log.store, stream, first, 'no-stream');
    const answerToSecond = await mustAppend(log.store, stream, second, 2n);

    await restartServer();

    for (const client of [log.store, await log.openAnother()]) {
      await isAnsweredAgain(
        client,
        { stream, events: first, expectedRevision: 'no-stream' },
        answerToFirst,
      );
      await isAnsweredAgain(
        client,
        { stream, events: second, expectedRevision: 2n },
        answerToSecond,
      );
    }
  });

  test('appends and subscriptions continue', async ({ skip }) => {
    const restartServer = log.faults?.restartServer ?? skip('needs the fault restartServer');
    const project = new TestProject();
    const stream = project.stream('device');
    const after = await log.store.head();
    const follower = new Follower(log.store, { project, after });
    const first = await mustAppend(log.store, stream, project.events(5), 'no-stream');
    await follower.reaches(first.position);

    const [, second] = await Promise.all([
      restartServer(),
      appendUntilAnswered(log.store, {
        stream,
        events: project.events(5),
        expectedRevision: first.revision,
      }),
    ]);

    expect(stored(second).position).toBeGreaterThan(first.position);
    await follower.reaches(stored(second).position);
    expect(follower.events).toEqual(await project.recorded(log.store, [stream]));
    expect(follower.events).toHaveLength(10);
  });

  test('every acknowledged append is kept, and a subscription misses none', async ({ skip }) => {
    const restartServer = log.faults?.restartServer ?? skip('needs the fault restartServer');
    const project = new TestProject();
    const after = await log.store.head();
    const follower = new Follower(log.store, { project, after });
    const streams = Array.from({ length: 16 }, (_, writer) => project.stream(String(writer)));
    const acknowledged: { id: string; position: bigint }[] = [];
    let restarted = false;

    await Promise.all([
      vi
        .waitFor(() => expect(acknowledged.length).toBeGreaterThan(200), {
          timeout: 40_000,
          interval: 1,
        })
        .then(restartServer)
        .finally(() => {
          restarted = true;
        }),
      ...streams.map(async (stream) => {
        for (let revision: 'no-stream' | bigint = 'no-stream'; !restarted;) {
          const event = project.event();
          const answer = stored(
            await appendUntilAnswered(log.store, {
              stream,
              events: [event],
              expectedRevision: revision,
            }),
          );
          ({ revision } = answer);
          acknowledged.push({ id: event.id, position: answer.position });
        }
      }),
    ]);

    const recorded = await project.recorded(log.store, streams);
    expect(recorded.map(({ id, position }) => ({ id, position }))).toEqual(
      acknowledged.toSorted((a, b) => (a.position < b.position ? -1 : 1)),
    );
    await follower.reaches(recorded.at(-1)?.position ?? after);
    expect(follower.events).toEqual(recorded);
  });
}
