import { useQueryClient } from '@tanstack/react-query';
import { createParser } from 'eventsource-parser';
import { useEffect, useSyncExternalStore } from 'react';
import { API_URL, authorization } from './client.ts';
import { onReturn } from './connection.ts';
import { useKeys, type Scope } from './keys.ts';

/** `events`: the service tells what happens. `polling`: it is asked every few seconds. */
type Source = 'events' | 'polling';

const POLL_MS = 5_000;
/** Many events within this time cost one round of reads. */
const SETTLE_MS = 1_000;
const RETRY_MS = 2_000;
/** More than the 15 s at which the service sends a comment when nothing happens. */
const SILENT_MS = 40_000;

const listeners = new Set<() => void>();
let source: Source = 'polling';

/** How often a view of the present is refreshed. */
export function usePollInterval(): number | false {
  const current = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => source,
  );
  return current === 'events' ? false : POLL_MS;
}

function setSource(next: Source): void {
  source = next;
  for (const listener of listeners) listener();
}

/**
 * While it is mounted, views of now follow the ledger: they read again when something was recorded.
 */
export function useLedgerEvents(isNow: boolean): void {
  const queries = useQueryClient();
  const { project } = useKeys();
  const key = project?.key;
  useEffect(() => onReturn(() => void queries.invalidateQueries()), [queries]);
  useEffect(() => {
    if (!isNow || key === undefined) return undefined;
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const changed = (): void => {
      timer ??= setTimeout(() => {
        timer = undefined;
        void queries.invalidateQueries({ queryKey: ['project'] });
      }, SETTLE_MS);
    };
    void follow('project', changed, ended.signal);
    return () => {
      ended.abort();
      clearTimeout(timer);
      setSource('polling');
    };
  }, [isNow, key, queries]);
}

/** Reads the stream of events until `signal`, from the last event on after a lost connection. */
async function follow(scope: Scope, changed: () => void, signal: AbortSignal): Promise<void> {
  let lastEventId: string | undefined;
  while (!signal.aborted) {
    try {
      const isThere = await readEvents(scope, { lastEventId, signal }, (id) => {
        lastEventId = id ?? lastEventId;
        changed();
      });
      if (!isThere) return;
    } catch {
      // Polling shows what happens until the next attempt.
    }
    setSource('polling');
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** False where the service has no such stream for this key. */
async function readEvents(
  scope: Scope,
  { lastEventId, signal }: { lastEventId: string | undefined; signal: AbortSignal },
  received: (id: string | undefined) => void,
): Promise<boolean> {
  const silent = new AbortController();
  const response = await fetch(`${API_URL}/events`, {
    headers: {
      ...authorization(scope),
      Accept: 'text/event-stream',
      ...(lastEventId !== undefined && { 'Last-Event-ID': lastEventId }),
    },
    signal: AbortSignal.any([signal, silent.signal]),
  });
  const isStream = response.headers.get('Content-Type')?.startsWith('text/event-stream') === true;
  if (!response.ok || !isStream || response.body === null) {
    await response.body?.cancel();
    return response.status >= 500 || response.status === 429;
  }
  setSource('events');
  const parser = createParser({ onEvent: ({ id }) => received(id) });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const timer = setTimeout(() => silent.abort(), SILENT_MS);
    const { done, value } = await reader.read();
    clearTimeout(timer);
    if (done) return true;
    parser.feed(value);
  }
}
