import { execFileSync } from 'node:child_process';
import { cpus, platform, release, totalmem } from 'node:os';

/** What the numbers depend on, kept with them. */
export interface Machine {
  readonly cpus: number;
  readonly cpuModel: string;
  readonly memoryGib: number;
  readonly system: string;
  readonly node: string;
  readonly postgres: string;
  /** Undefined: none was measured. */
  readonly eventStore: string | undefined;
  readonly commit: string;
}

export function describeMachine(postgres: string, eventStore: string | undefined): Machine {
  return {
    cpus: cpus().length,
    cpuModel: cpus()[0]?.model ?? 'unknown',
    memoryGib: Math.round(totalmem() / 1024 ** 3),
    system: `${platform()} ${release()}`,
    node: process.version,
    postgres,
    eventStore,
    commit: commit(),
  };
}

/** With a `+` when the working tree holds something else. */
function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
    const changes = git('status', '--porcelain', '--', '../src', '../migrations', '.');
    return git('rev-parse', '--short=12', 'HEAD') + (changes === '' ? '' : '+');
  } catch {
    return 'unknown';
  }
}
