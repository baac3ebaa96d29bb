// Runs the suites one after the other, says which tests failed, and counts.
//
// A file that failed is run once more by itself, and what passes then is named as such: two noisy cores run
// some thousand tests of processes that are killed, and one that is too late must not hide what the others
// said. Not a retry of each test where it stands: that would be silent, and never mended.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MAX_FILES_RUN_AGAIN = 3;
const suites = [
  { name: 'postgres', script: 'test', env: {} },
  { name: 'eventstoredb', script: 'test:eventstoredb', env: { TEST_LOG: 'eventstoredb' } },
];

const folder = mkdtempSync(join(tmpdir(), 'suites-'));
const counts = { passed: 0, failed: 0, skipped: 0 };
const remarks = [];
let hasFailed = false;

for (const { name, script, env } of suites) {
  let first = run(name, ['npm', 'run', script, '--'], {});
  if (first.exitCode !== 0 && first.files.length === 0) {
    remarks.push(`${name}: its servers did not start, and were started once more`);
    first = run(name, ['npm', 'run', script, '--'], {});
  }
  const failedFiles = first.files.filter(({ status }) => status === 'failed');
  counts.passed += first.passed;
  counts.skipped += first.skipped;
  if (first.exitCode === 0) continue;
  for (const test of first.failedTests) remarks.push(`${name}: failed: ${test}`);
  const isRunAgain = failedFiles.length > 0 && failedFiles.length <= MAX_FILES_RUN_AGAIN;
  const again = isRunAgain
    ? run(name, ['npx', 'vitest', 'run', ...failedFiles.map((file) => file.name)], env)
    : undefined;
  if (again?.exitCode === 0) {
    counts.passed += first.failed;
    remarks.push(`${name}: all of ${failedFiles.length} file(s) passed when run again`);
    continue;
  }
  hasFailed = true;
  counts.failed += Math.max(first.failed, 1);
  for (const test of again?.failedTests ?? []) remarks.push(`${name}: failed again: ${test}`);
}

rmSync(folder, { recursive: true });
process.stdout.write(remarks.map((remark) => `${remark}\n`).join(''));
process.stdout.write(
  `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`,
);
process.exitCode = hasFailed ? 1 : 0;

function run(name, [command, ...args], env) {
  const path = join(folder, `${name}.json`);
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${path}`];
  const { status } = spawnSync(command, [...args, ...reporters], {
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  const report = reportOf(path);
  rmSync(path, { force: true });
  return {
    exitCode: status ?? 1,
    passed: report.numPassedTests,
    failed: report.numFailedTests,
    skipped: report.numPendingTests,
    files: report.testResults,
    failedTests: report.testResults.flatMap((file) =>
      file.assertionResults
        .filter((test) => test.status === 'failed')
        .map((test) => `${test.fullName}\n    ${String(test.failureMessages[0]).slice(0, 600)}`),
    ),
  };
}

function reportOf(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, testResults: [] };
  }
}
