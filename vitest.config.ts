import { defineConfig } from 'vitest/config';

const SLOW = 'test/**/*.slow.test.ts';
const PROCESSES = 'test/process/**/*.test.ts';
const limits = { testTimeout: 60_000, hookTimeout: 60_000 };

/** docs/testing.md says which suite is for what. */
export default defineConfig({
  test: {
    globalSetup: ['test/global-setup.ts'],
    // One more than the cores of a small machine: tests wait for servers more than they compute.
    maxWorkers: 3,
    projects: [
      {
        test: {
          name: 'fast',
          include: ['test/**/*.test.ts'],
          exclude: [SLOW, PROCESSES],
          // Files share nothing but modules, so each worker loads those once.
          isolate: false,
          ...limits,
        },
      },
      {
        test: {
          name: 'processes',
          include: [PROCESSES],
          exclude: [SLOW],
          globalSetup: ['test/build.ts'],
          ...limits,
        },
      },
      { test: { name: 'slow', include: [SLOW], globalSetup: ['test/build.ts'], ...limits } },
    ],
  },
});
