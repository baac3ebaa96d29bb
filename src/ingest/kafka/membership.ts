/** kafkajs sends one when that long has passed since the last, however often it is asked to. */
export const HEARTBEAT_INTERVAL_MS = 1_000;
/** Without a heartbeat for so long a member is dead to its group: what a kill leaves waits as long. */
export const SESSION_TIMEOUT_MS = 10_000;

/**
 * Keeps this member in its group while a batch is worked on, which takes as long as the store takes. What the
 * heartbeats meet (another generation of the group, no broker) is thrown where the work can be left.
 */
export class Membership {
  readonly #timer: NodeJS.Timeout;
  #lost: unknown;

  constructor(heartbeat: () => Promise<void>) {
    this.#timer = setInterval(() => {
      heartbeat().catch((error: unknown) => (this.#lost ??= error));
    }, HEARTBEAT_INTERVAL_MS);
  }

  check(): void {
    // As kafkajs made it: by its kind it knows whether to join again, or to give up.
    if (this.#lost !== undefined) throw this.#lost;
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
