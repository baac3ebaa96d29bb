/** Tells waiting subscribers that something was appended. */
export class AppendSignal {
  #generation = 0;
  readonly #waiting = new Set<() => void>();

  notify(): void {
    this.#generation += 1;
    for (const wake of this.#waiting) wake();
  }

  /** What comes from now on: a notification between this call and `wait` is not missed. */
  next(): { wait(timeoutMs: number, signal: AbortSignal): Promise<'news' | 'timeout'> } {
    const generation = this.#generation;
    return {
      wait: async (timeoutMs, signal) => {
        if (generation !== this.#generation || signal.aborted) return 'news';
        return new Promise((resolve) => {
          const wake = (): void => {
            clearTimeout(timer);
            this.#waiting.delete(wake);
            signal.removeEventListener('abort', wake);
            resolve(generation === this.#generation ? 'timeout' : 'news');
          };
          const timer = setTimeout(wake, timeoutMs);
          this.#waiting.add(wake);
          signal.addEventListener('abort', wake);
        });
      },
    };
  }
}
