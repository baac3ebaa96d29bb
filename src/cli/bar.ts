import cliProgress from 'cli-progress';

/** A bar on stderr, as results are on stdout; undefined where stderr is no terminal. */
export function openBar(format: string): cliProgress.SingleBar | undefined {
  if (!process.stderr.isTTY) return undefined;
  return new cliProgress.SingleBar({
    stream: process.stderr,
    format,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 30,
    hideCursor: true,
    clearOnComplete: true,
  });
}
