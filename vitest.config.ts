import { defineConfig, type ViteUserConfig } from 'vitest/config';

const PROCESSES = 'test/process/**/*.test.ts';
/** Files in which every test is slow; elsewhere single tests have the tag `slow`. */
const SLOW_FILES = 'test/**/*.slow.test.ts';
/** Conditions are waited for as long as a machine with other work may need. */
const limits = {
  testTimeout: 60_000,
  hookTimeout: 60_000,
  expect: { poll: { timeout: 20_000 } },
};

export interface Files {
  readonly fast: string[];
  readonly processes: string[];
  readonly slow: string[];
}

export function configFor({ fast, processes, slow }: Files): ViteUserConfig {
  return defineConfig({
    test: {
      globalSetup: ['test/global-setup.ts'],
      tags: [
        { name: 'slow', description: 'Not part of `npm test`, but of `npm run test:slow`' },
        { name: 'size', description: 'As many items as a request may have, whatever the log is' },
      ],
      // One more than the cores of a small machine: tests wait for servers more than they compute.
      maxWorkers: 3,
      projects: [
        {
          test: {
            name: 'fast',
            include: fast,
            exclude: [SLOW_FILES, PROCESSES],
            // Files share nothing but modules, so each worker loads those once.
            isolate: false,
            ...limits,
          },
        },
        {
          test: {
            name: 'processes',
            include: processes,
            exclude: [SLOW_FILES],
            globalSetup: ['test/build.ts'],
            ...limits,
          },
        },
        {
          test: {
            name: 'slow',
            include: slow,
            globalSetup: ['test/kafka/global-setup.ts', 'test/build.ts'],
            ...limits,
          },
        },
      ],
    },
  });
}

/** docs/testing.md says which suite is for what. */
export default configFor({
  fast: ['test/**/*.test.ts'],
  processes: [PROCESSES],
  slow: [SLOW_FILES],
});
