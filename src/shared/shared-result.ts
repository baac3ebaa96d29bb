/**
 * A function that gives the result of `work` to everybody who asks while it runs, and for `freshMs`
 * after it has ended. So however many ask, there is one run at a time, and a bounded rate of runs.
 * A failure is a result, too.
 */
export function sharedResult<Value>(
  work: () => Promise<Value>,
  freshMs: number,
  now: () => number = () => performance.now(),
): () => Promise<Value> {
  let latest: Promise<Value> | undefined;
  let endedAtMs = Number.POSITIVE_INFINITY;
  return () => {
    if (latest !== undefined && now() - endedAtMs < freshMs) return latest;
    const run = work();
    latest = run;
    endedAtMs = Number.POSITIVE_INFINITY;
    const end = (): void => {
      endedAtMs = now();
    };
    run.then(end, end);
    return run;
  };
}
