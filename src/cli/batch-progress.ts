import { openBar } from './bar.ts';

export interface BatchCounts {
  readonly size: number;
  readonly registered: number;
  readonly conflicted: number;
}

export interface BatchProgress {
  show(counts: BatchCounts): void;
  /** Leaves nothing of it on the screen. */
  end(): void;
}

/** Nothing where stderr is no terminal. */
export function showBatchProgress(): BatchProgress {
  const bar = openBar(
    'registered {value}/{total} {bar} {conflicted} conflicts  {rate}/s  {eta_formatted} left',
  );
  if (bar === undefined) return { show: () => undefined, end: () => undefined };
  let begun: { readonly atMs: number; readonly registered: number } | undefined;
  return {
    show({ size, registered, conflicted }) {
      if (begun === undefined) {
        begun = { atMs: performance.now(), registered };
        bar.start(size, registered, { conflicted, rate: '-' });
      }
      const elapsedSeconds = (performance.now() - begun.atMs) / 1_000;
      const rate =
        elapsedSeconds > 1 ? (registered - begun.registered) / elapsedSeconds : undefined;
      bar.update(registered, { conflicted, rate: rate?.toFixed(0) ?? '-' });
    },
    end: () => bar.stop(),
  };
}
