/** A wait that can be ended early: once by `end`, or for ever by the signal. */
export class Pause {
  readonly #signal: AbortSignal;
  #end: () => void = () => undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.end());
  }

  for(timeoutMs: number): Promise<undefined> {
    if (this.#signal.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const timer = setTimeout(end, timeoutMs);
      function end(): void {
        clearTimeout(timer);
        resolve(undefined);
      }
      this.#end = end;
    });
  }

  end(): void {
    this.#end();
  }
}
