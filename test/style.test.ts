import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { findingsOf, type Finding, type Rule } from './style/rules.ts';

const ROOTS = ['src', 'test', 'bench', 'console', 'docs', 'migrations', '.ci', '.'];
const KINDS = /(\.(ts|tsx|mjs|js|md|sql|yml)|^Dockerfile|^\.ci\/run)$/;
const LEFT_OUT = new Set(['node_modules', 'dist', '.git', 'results', '.fleetledger']);

/** Files that do not pass yet, by rule. The list only shrinks: a file that passes is taken off. */
const NOT_YET = JSON.parse(readFileSync('test/style/not-yet.json', 'utf8')) as Partial<
  Record<Rule, string[]>
>;

function* filesBelow(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const name = path.posix.join(folder, entry.name);
    if (LEFT_OUT.has(entry.name)) continue;
    if (entry.isFile() && KINDS.test(name)) yield name;
    if (entry.isDirectory() && folder !== '.') yield* filesBelow(name);
  }
}

const roots = ROOTS.filter((root) => root === '.' || readdirSync('.').includes(root));
const findings = new Map<string, Finding[]>(
  roots
    .flatMap((root) => [...filesBelow(root)])
    .map((name) => [name, findingsOf({ name, text: readFileSync(name, 'utf8') })]),
);

describe.each<Rule>(['lines', 'functions', 'columns', 'openings', 'words', 'links'])(
  'the rule of %s',
  (rule) => {
    const notYet = new Set(NOT_YET[rule]);

    test('holds in every file that is not on the list', () => {
      const broken = [...findings]
        .filter(([name]) => !notYet.has(name))
        .flatMap(([name, found]) =>
          found
            .filter((finding) => finding.rule === rule)
            .map(({ line, message }) => `${name}:${line}: ${message}`),
        );
      expect(broken).toEqual([]);
    });

    test('is broken by every file on the list, so that the list only shrinks', () => {
      const passing = [...notYet].filter(
        (name) => findings.get(name)?.some((finding) => finding.rule === rule) !== true,
      );
      expect(passing).toEqual([]);
    });
  },
);

test.each<[Rule, string, string]>([
  ['lines', 'a.ts', '\n'.repeat(401)],
  ['functions', 'a.ts', `function a() {${'\n'.repeat(70)}}`],
  ['functions', 'a.ts', `test('a', () => {${'\n'.repeat(70)}});`],
  ['columns', 'a.ts', `// ${'a'.repeat(98)}`],
  ['openings', 'a.ts', '/** Of a sensor. */'],
  ['openings', 'a.ts', 'const a = 1; // By name.'],
  ['words', 'a.ts', '// The store is away.'],
  ['links', 'a.ts', '// decision 9999'],
  ['links', 'docs/a.md', '[a](no-such-file.md)'],
  ['links', 'README.md', '[a](docs/testing.md#no-such-heading)'],
])('the rule of %s is broken by %s with %j', (rule, name, text) => {
  expect(findingsOf({ name, text }).map((finding) => finding.rule)).toEqual([rule]);
});

test.each([
  ['a.ts', `describe('a', () => {${'\n'.repeat(390)}});`],
  ['a.ts', '// A sentence that is long\n// Also in its second line.'],
  ['a.ts', '// decision 1'],
  ['a.md', `| ${'a'.repeat(200)} |\n\`\`\`sh\n${'a'.repeat(200)}\n\`\`\``],
  ['README.md', '[a](docs/testing.md#fast-and-slow) [b](https://example.com/a)'],
])('%s with %j is in style', (name, text) => {
  expect(findingsOf({ name, text })).toEqual([]);
});
