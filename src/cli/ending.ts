/** How a command ends. */
export const ExitCode = { done: 0, failed: 1, usage: 2, interrupted: 3 } as const;

/** It was asked for in a way that cannot be meant. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** It was asked to end before it was done; whatever there is to say of that has been said. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

let stopListeningEarly = (): void => undefined;

/**
 * Ends the process with this code when it is asked to end before `onAskedToEnd` was called: there
 * is nothing to finish yet. Called before anything else is imported, which takes a second: as
 * process 1 of a container, node ignores a signal that nobody listens for.
 */
export function endWhenAskedEarly(exitCode: number): void {
  const end = (): void => process.exit(exitCode);
  for (const name of SIGNALS) process.on(name, end);
  stopListeningEarly = () => {
    for (const name of SIGNALS) process.off(name, end);
  };
}

const PARENT_CHECK_MS = 250;

/**
 * Below npm, sends SIGTERM to this process once its parent is gone. npm passes a signal to the
 * shell that runs the script, and a shell such as dash ends without passing it on. `exec` in the
 * script would do the same, but not in cmd.exe.
 */
export function endWithShellOfNpm(): void {
  if (process.env['npm_lifecycle_event'] === undefined) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    process.kill(process.pid, 'SIGTERM');
  }, PARENT_CHECK_MS);
  timer.unref();
}

const ASKED_AGAIN_AFTER_MS = 200;

/** Calls `end` when the process is first asked to end. Whoever asks again does not want to wait. */
export function onAskedToEnd(end: () => void, exitCodeAtOnce: number): void {
  let askedAtMs: number | undefined;
  const asked = (): void => {
    if (askedAtMs === undefined) {
      askedAtMs = performance.now();
      end();
      // Not at once: Ctrl-C reaches us twice below npm, from the terminal and from npm.
    } else if (performance.now() - askedAtMs > ASKED_AGAIN_AFTER_MS) {
      process.exit(exitCodeAtOnce);
    }
  };
  for (const name of SIGNALS) process.on(name, asked);
  stopListeningEarly();
}
