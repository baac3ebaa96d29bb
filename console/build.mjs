// Installs what the console is built with, and builds it into dist/console. Each is left out when
// nothing that it depends on has changed since the last time, so that a start costs no more for it.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';

const CONSOLE = path.dirname(fileURLToPath(import.meta.url));
const OUTPUT = path.join(CONSOLE, '../dist/console');
const INSTALLED = path.join(CONSOLE, 'node_modules/.installed');
const BUILT = path.join(OUTPUT, '.built');
const INPUTS = ['package-lock.json', 'index.html', 'vite.config.ts', 'build.mjs', 'src'];

const isInstallOnly = process.argv.includes('--install');
install();
if (!isInstallOnly) await build();

function install() {
  const digest = digestOf(['package-lock.json']);
  if (isCurrent(INSTALLED, digest)) return;
  const options = { cwd: CONSOLE, stdio: ['ignore', 'ignore', 'inherit'] };
  execFileSync('npm', ['ci', '--no-audit', '--silent'], options);
  writeFileSync(INSTALLED, digest);
}

async function build() {
  const digest = digestOf(INPUTS);
  if (isCurrent(BUILT, digest)) return;
  // Whatever runs this, for example a test: React is built for production.
  process.env.NODE_ENV = 'production';
  const vite = await import('vite');
  await vite.build({ root: CONSOLE, logLevel: 'warn' });
  for (const file of readdirSync(path.join(OUTPUT, 'assets'))) {
    const asset = path.join(OUTPUT, 'assets', file);
    writeFileSync(`${asset}.br`, brotliCompressSync(readFileSync(asset)));
  }
  writeFileSync(BUILT, digest);
}

function isCurrent(marker, digest) {
  return existsSync(marker) && readFileSync(marker, 'utf8') === digest;
}

function digestOf(inputs) {
  const hash = createHash('sha256');
  for (const file of inputs.flatMap(filesIn)) {
    hash
      .update(`${file}\0`)
      .update(readFileSync(path.join(CONSOLE, file)))
      .update('\0');
  }
  return hash.digest('hex');
}

/** In a fixed order, as the digest depends on it. */
function filesIn(input) {
  const entries = readdirSync(CONSOLE, { withFileTypes: true });
  if (entries.find(({ name }) => name === input)?.isDirectory() !== true) return [input];
  return readdirSync(path.join(CONSOLE, input), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.d.ts'))
    .map((entry) => path.relative(CONSOLE, path.join(entry.parentPath, entry.name)))
    .toSorted();
}
