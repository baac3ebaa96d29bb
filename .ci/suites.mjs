// Runs the suites one after the other, says how long each took and which tests failed, and counts.
//
// A file that failed is run once more, alone, as a last resort: two noisy cores run processes that
// are killed, and one late test must not hide what the others found. Each such file is reported, so
// that its cause is fixed. Retries of single tests would hide it.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const MAX_FILES_RUN_AGAIN = 3;
const suites = [
  { name: 'fast', script: 'test', env: {} },
  { name: 'slow', script: 'test:slow', env: {} },
  { name: 'eventstoredb', script: 'test:eventstoredb', env: {} },
  ...process.argv.slice(2).map((folder) => ({
    name: `fast on the Node of ${folder}`,
    script: 'test',
    env: { PATH: `${folder}${delimiter}${process.env.PATH}` },
  })),
];

const folder = mkdtempSync(join(tmpdir(), 'suites-'));
/** Tests that some suite has run. What none has run is skipped, whatever each leaves to another. */
const ran = new Set();
const known = new Set();
const counts = { passed: 0, failed: 0 };
const remarks = [];

for (const suite of suites) {
  const { name } = suite;
  const startedAt = Date.now();
  let first = run(suite, ['npm', 'run', suite.script, '--']);
  if (first.exitCode !== 0 && first.files.length === 0) {
    remarks.push(`${name}: its servers did not start, and were started once more`);
    first = run(suite, ['npm', 'run', suite.script, '--']);
  }
  counts.passed += first.passed;
  if (first.exitCode !== 0) count(suite, first);
  remarks.push(`${name}: ${Math.round((Date.now() - startedAt) / 1000)} s`);
}

rmSync(folder, { recursive: true });
const skipped = [...known].filter((test) => !ran.has(test)).length;
process.stdout.write(remarks.map((remark) => `${remark}\n`).join(''));
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${skipped} skipped\n`);
process.exitCode = counts.failed > 0 ? 1 : 0;

/** Counts the failures of a suite, unless its files pass when they are run again. */
function count(suite, first) {
  const { name } = suite;
  for (const test of first.failedTests) remarks.push(`${name}: failed: ${test}`);
  const failedFiles = first.files.filter(({ status }) => status === 'failed');
  const isRunAgain = failedFiles.length > 0 && failedFiles.length <= MAX_FILES_RUN_AGAIN;
  const files = failedFiles.map((file) => file.name);
  const again = isRunAgain ? run(suite, ['npm', 'run', suite.script, '--', ...files]) : undefined;
  if (again?.exitCode === 0) {
    counts.passed += first.failed;
    remarks.push(`${name}: passed when run again, to be fixed: ${files.join(' ')}`);
    return;
  }
  counts.failed += Math.max(first.failed, 1);
  for (const test of again?.failedTests ?? []) remarks.push(`${name}: failed again: ${test}`);
}

function run({ env }, [command, ...args]) {
  const path = join(folder, 'report.json');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${path}`];
  const { status } = spawnSync(command, [...args, ...reporters], {
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  const report = reportOf(path);
  rmSync(path, { force: true });
  const tests = report.testResults.flatMap((file) =>
    file.assertionResults.map((test) => ({ ...test, id: `${file.name} ${test.fullName}` })),
  );
  for (const { id, status: outcome } of tests) {
    known.add(id);
    if (outcome === 'passed' || outcome === 'failed') ran.add(id);
  }
  return {
    exitCode: status ?? 1,
    passed: report.numPassedTests,
    failed: report.numFailedTests,
    files: report.testResults,
    failedTests: tests
      .filter((test) => test.status === 'failed')
      .map((test) => `${test.fullName}\n    ${String(test.failureMessages[0]).slice(0, 600)}`),
  };
}

function reportOf(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return { numPassedTests: 0, numFailedTests: 0, testResults: [] };
  }
}
