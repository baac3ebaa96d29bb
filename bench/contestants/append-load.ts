/** Who appends what: the same for us and the peer. */
export interface AppendLoad {
  readonly callers: number;
  readonly eventsPerAppend: number;
}

export const APPEND_STREAMS = 1_000;

/**
 * Callers at once, each of which appends again as soon as it is answered. A stream belongs to one
 * caller, so that every revision that is expected is exact and met.
 */
export async function runCallers(
  { callers, eventsPerAppend }: AppendLoad,
  durationMs: number,
  append: (streamIndex: number) => Promise<void>,
): Promise<{ eventsPerSecond: number; events: number }> {
  const startedAtMs = performance.now();
  let events = 0;
  await Promise.all(
    Array.from({ length: callers }, async (_, caller) => {
      let streamIndex = caller;
      while (performance.now() - startedAtMs < durationMs) {
        await append(streamIndex);
        events += eventsPerAppend;
        streamIndex += callers;
        if (streamIndex >= APPEND_STREAMS) streamIndex = caller;
      }
    }),
  );
  return { eventsPerSecond: (events * 1_000) / (performance.now() - startedAtMs), events };
}
