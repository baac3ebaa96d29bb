import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';

const COMPILED = /compiled<[^(]*>\(\s*'([^']+)'/g;
const ROOT = path.resolve(import.meta.dirname, '..');

/** The bench names them by text, because it runs what was compiled: the compiler sees no import. */
test('the modules that the bench takes from the build are in the sources', async () => {
  const named = new Set<string>();
  for (const folder of ['bench/rows', 'bench/contestants']) {
    for (const file of await readdir(path.join(ROOT, folder))) {
      const text = await readFile(path.join(ROOT, folder, file), 'utf8');
      for (const [, module] of text.matchAll(COMPILED)) named.add(module!);
    }
  }
  expect(named).toContain('service/service.ts');
  expect([...named].filter((module) => !existsSync(path.join(ROOT, 'src', module)))).toEqual([]);
});
