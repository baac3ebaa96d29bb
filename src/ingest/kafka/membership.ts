/** kafkajs sends one when that long has passed since the last, however often it is asked to. */
export const HEARTBEAT_INTERVAL_MS = 1_000;
/**
 * A member without a heartbeat for so long is dead to its group: what a killed process leaves waits
 * as long.
 */
export const SESSION_TIMEOUT_MS = 10_000;

/**
 * Keeps this member in its group while a batch is in work, which takes as long as the store takes.
 * Calls `onLost` with what the first failed heartbeat met: another generation of the group, no
 * broker.
 */
export class Membership {
  readonly #timer: NodeJS.Timeout;
  #lost: unknown;

  constructor(heartbeat: () => Promise<void>, onLost: () => void) {
    this.#timer = setInterval(() => {
      heartbeat().catch((error: unknown) => {
        this.#lost ??= error;
        onLost();
      });
    }, HEARTBEAT_INTERVAL_MS);
  }

  /** @throws what kafkajs threw: by its kind kafkajs knows whether to join again, or to give up */
  check(): void {
    if (this.#lost !== undefined) throw this.#lost;
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
