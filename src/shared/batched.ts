/**
 * Answers many questions with few queries: those that come while a query runs wait, and are asked
 * together by the next one. So however many come, there is one query at a time.
 */
export class Batched<Key, Value> {
  readonly #maxKeys: number;
  readonly #loadAll: (keys: readonly Key[]) => Promise<ReadonlyMap<Key, Value>>;
  #waiting = new Map<Key, Waiting<Value>>();
  #isRunning = false;

  /** `loadAll` gives a value for each of its keys, which are distinct and at most `maxKeys`. */
  constructor(
    maxKeys: number,
    loadAll: (keys: readonly Key[]) => Promise<ReadonlyMap<Key, Value>>,
  ) {
    this.#maxKeys = maxKeys;
    this.#loadAll = loadAll;
  }

  load(key: Key): Promise<Value> {
    const same = this.#waiting.get(key);
    if (same !== undefined) return same.promise;
    let resolve: (value: Value) => void = () => undefined;
    let reject: (error: unknown) => void = () => undefined;
    const promise = new Promise<Value>((onValue, onError) => {
      resolve = onValue;
      reject = onError;
    });
    this.#waiting.set(key, { promise, resolve, reject });
    if (!this.#isRunning) void this.#run();
    return promise;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    // What is asked for in the same turn of the event loop goes into the first query together.
    await Promise.resolve();
    while (this.#waiting.size > 0) {
      const taken = [...this.#waiting].slice(0, this.#maxKeys);
      for (const [key] of taken) this.#waiting.delete(key);
      try {
        const values = await this.#loadAll(taken.map(([key]) => key));
        for (const [key, { resolve, reject }] of taken) {
          if (values.has(key)) resolve(values.get(key) as Value);
          else reject(new Error('the batch holds no value for one of its keys'));
        }
      } catch (error) {
        for (const [, { reject }] of taken) reject(error);
      }
    }
    this.#isRunning = false;
  }
}

interface Waiting<Value> {
  readonly promise: Promise<Value>;
  readonly resolve: (value: Value) => void;
  readonly reject: (error: unknown) => void;
}
