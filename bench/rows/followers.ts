import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { runChild, startChild } from '../child.ts';
import type { Reached } from '../contestants/followers-child.ts';
import { milliseconds } from '../format.ts';
import type { Row } from '../row.ts';

const GOAL_MS = 250;
const FOLLOWERS = 1_000;
const EVENTS_PER_SECOND = 100;

/** How long an append takes to reach all followers of a project, from the request to the last. */
export const followersRow: Row = {
  name: 'followers',
  async measure({ server, build, isQuick, profileDir }) {
    const followers = isQuick ? 50 : FOLLOWERS;
    const seconds = isQuick ? 2 : 20;
    const databaseUrl = await server.createDatabase('followers');
    const adminKey = randomBytes(24).toString('hex');
    const service = await startChild(pathToFileURL(path.join(build.folder, 'dist/cli.js')), {
      args: ['serve'],
      env: {
        DATABASE_URL: databaseUrl,
        HOST: '127.0.0.1',
        PORT: '0',
        ADMIN_API_KEY: adminKey,
        RATE_LIMIT_PER_KEY: '1000000',
      },
      // One key opens all streams. No `.env` there, so everything else is at its default.
      cwd: build.folder,
      profileDir,
    });
    const load = { url: service.url, adminKey, followers, seconds, rate: EVENTS_PER_SECOND };
    const entry = new URL('../contestants/followers-child.ts', import.meta.url);
    const reached = await runChild<Reached>(entry, { args: [JSON.stringify(load)] });
    await service.stop();
    await server.dropDatabase('followers');
    return {
      lines: [
        {
          row: `append to ${followers} followers`,
          ours:
            `p50 ${milliseconds(reached.p50Ms)}, p99 ${milliseconds(reached.p99Ms)}, ` +
            `max ${milliseconds(reached.maxMs)}`,
          ratios: '',
          goal: `p99 < ${GOAL_MS} ms`,
          isMet: reached.p99Ms < GOAL_MS && reached.missing === 0,
        },
      ],
      notes: [
        `followers: ${EVENTS_PER_SECOND} patches a second for ${seconds} s over HTTP; each of ` +
          `${followers} event streams of one project gets each of them: ${reached.deliveries} ` +
          `deliveries, ${reached.missing} missing. From the request to the arrival, in a client ` +
          'that has its share of the cores, too.',
      ],
      rounds: { reached },
    };
  },
};
