/**
 * Lets work that shares a name run one after the other in this process, in the order in which it is
 * given. Work with several names waits for all that came before it under any of them.
 */
export class KeyedQueue {
  readonly #last = new Map<string, Promise<unknown>>();

  async run<Value>(names: readonly string[], work: () => Promise<Value>): Promise<Value> {
    const before = names.flatMap((name) => this.#last.get(name) ?? []);
    const turn = Promise.allSettled(before).then(work);
    for (const name of names) this.#last.set(name, turn);
    try {
      return await turn;
    } finally {
      for (const name of names) {
        if (this.#last.get(name) === turn) this.#last.delete(name);
      }
    }
  }
}
