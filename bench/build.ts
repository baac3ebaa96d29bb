import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

/**
 * Our code compiled as `npm start` compiles it, in a folder of its own: a rebuild of `dist` beside
 * us does not change what is measured.
 *
 * Not the sources through tsx: it wraps every function in a call that keeps its name, which users
 * do not run and which costs closures in hot paths.
 */
export interface Build {
  /** Where `dist/` is, and what that expects beside it. */
  readonly folder: string;
  remove(): Promise<void>;
}

const ROOT = path.resolve(import.meta.dirname, '..');
const FOLDER_VARIABLE = 'FLEETLEDGER_BENCH_BUILD';

export async function build(): Promise<Build> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fleetledger-bench-build-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    await mkdir(path.join(folder, 'dist'));
    for (const name of ['migrations', 'package.json']) {
      await cp(path.join(ROOT, name), path.join(folder, name), { recursive: true });
    }
    await symlink(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'));
    await compile(folder);
    // Child processes inherit it.
    process.env[FOLDER_VARIABLE] = folder;
    return { folder, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function compile(folder: string): Promise<void> {
  const compiler = path.join(ROOT, 'node_modules/typescript/bin/tsc');
  const project = ['-p', path.join(ROOT, 'tsconfig.build.json')];
  const output = ['--outDir', path.join(folder, 'dist')];
  const info = ['--tsBuildInfoFile', path.join(folder, 'tsbuildinfo')];
  try {
    await promisify(execFile)(process.execPath, [compiler, ...project, ...output, ...info]);
  } catch (error) {
    const { stdout } = error as { stdout?: string };
    throw new Error(`the sources do not compile:\n${stdout ?? ''}`, { cause: error });
  }
}

/** A compiled module, by its path below `src`; its types are those of the source. */
export async function compiled<Module>(source: `${string}.ts`): Promise<Module> {
  const folder = process.env[FOLDER_VARIABLE];
  if (folder === undefined) throw new Error('nothing was built yet');
  const file = path.join(folder, 'dist', source.replace(/\.ts$/, '.js'));
  return (await import(pathToFileURL(file).href)) as Module;
}
