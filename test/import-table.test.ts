import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { expect, test } from 'vitest';
import table from '../import-table.json' with { type: 'json' };

/**
 * `import-table.json` says which folder may import which, and who owns which package. The linter's
 * rules and the table of ARCHITECTURE.md are made of it: `npx vitest run test/import-table.test.ts
 * --update` writes both.
 */
interface Folder {
  readonly holds: string;
  readonly mayImport: readonly string[] | string;
  /** What single subfolders may import beside that. */
  readonly exceptions?: Readonly<Record<string, readonly string[]>>;
}

const PORT = ' (port)';
const folders = Object.entries(table.folders) as [string, Folder][];

test('the linter enforces the import table', async () => {
  const config = JSON.parse(await readFile('.oxlintrc.json', 'utf8')) as {
    overrides: { files: string[] }[];
  };
  const others = config.overrides.filter(({ files }) => files.every((glob) => !isOfSource(glob)));
  const overrides = [...folders.flatMap(overridesOf), ...others];
  const text = JSON.stringify({ ...config, overrides });
  await expect(await formatted('.oxlintrc.json', text)).toMatchFileSnapshot('../.oxlintrc.json');
});

test('ARCHITECTURE.md shows the import table', async () => {
  const text = await readFile('ARCHITECTURE.md', 'utf8');
  const rows = folders.map(([name, folder]) => `| \`${name}\` | ${holds(name, folder)} |`);
  const shown = ['| folder | what | may import |', '| - | - | - |', ...rows, ''].join('\n');
  const renewed = text.replace(/\| folder [^]*?\n(?!\|)/, shown);
  await expect(await formatted('ARCHITECTURE.md', renewed)).toMatchFileSnapshot(
    '../ARCHITECTURE.md',
  );
});

test('nothing but the commands of a domain runs the command handler', async () => {
  const entries = await readdir('src', { recursive: true });
  const others = entries.filter((name) => name.endsWith('.ts') && !name.startsWith('commands'));
  for (const name of others) {
    const source = await readFile(path.join('src', name), 'utf8');
    expect(source, name).not.toMatch(/andler\.execute\(/);
  }
});

function isOfSource(glob: string): boolean {
  return folders.some(([name]) => glob.startsWith(`src/${name}/`));
}

function formatted(file: string, text: string): Promise<string> {
  return resolveConfig(file).then((config) => format(text, { ...config, filepath: file }));
}

function overridesOf([name, folder]: [string, Folder]): object[] {
  const { mayImport, exceptions = {} } = folder;
  if (typeof mayImport === 'string') return [];
  return [
    override(name, name, mayImport),
    ...Object.entries(exceptions).map(([part, more]) =>
      override(name, `${name}/${part}`, [...mayImport, ...more]),
    ),
  ];
}

/** The rules of a folder, or of one subfolder, which may own packages that the rest may not use. */
function override(name: string, folder: string, mayImport: readonly string[]): object {
  const allowed = new Set([name, ...mayImport.map((other) => other.replace(PORT, ''))]);
  const all = [...folders.map(([other]) => other), ...table.importedByNoOther];
  const forbidden = [...new Set(all)].filter((other) => !allowed.has(other));
  const foreign = Object.entries(table.packages).filter(([, owner]) => {
    return owner !== name && owner !== folder;
  });
  const list = mayImport.length === 0 ? 'nothing of ours' : `${mayImport.join(', ')} only`;
  const patterns = [
    {
      regex: String.raw`^(\.\./)+(${forbidden.join('|')})(/|\.ts$)`,
      message: `${name} may import ${list} (import-table.json)`,
    },
    ...(mayImport.some((other) => other.endsWith(PORT))
      ? [
          {
            regex: '/event-store/(postgres|eventstoredb|file)/',
            message: `${name} knows the event store by its port only (import-table.json)`,
          },
        ]
      : []),
    {
      regex: `^(${foreign.map(([packageName]) => packageName).join('|')})($|/)`,
      message: 'this package belongs to another folder (import-table.json)',
    },
  ];
  return {
    files: [`src/${folder}/**/*.ts`],
    rules: { 'no-restricted-imports': ['error', { patterns }] },
  };
}

/** The cells of a folder's row. */
function holds(name: string, { holds: what, mayImport, exceptions = {} }: Folder): string {
  const owned = Object.entries(table.packages).flatMap(([packageName, owner]) =>
    owner.split('/')[0] === name ? [`\`${packageName}\``] : [],
  );
  const owns = owned.length === 0 ? '' : `; owns ${owned.join(', ')}`;
  const list = typeof mayImport === 'string' ? mayImport : mayImport.join(', ');
  const more = Object.entries(exceptions).flatMap(([part, extra]) =>
    extra.length === 0 ? [] : [`; ${part} also ${extra.join()}`],
  );
  return `${what}${owns} | ${list === '' ? 'nothing of ours' : list}${more.join('')}`;
}
