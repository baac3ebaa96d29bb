import { useSyncExternalStore } from 'react';

/**
 * Whether the service answers. A request that gets no answer at all makes it `lost`; the service is
 * then asked again until it answers, and `back` says so for a while.
 */
export type Connection = 'ok' | 'lost' | 'back';

const ASK_AGAIN_MS = 1_000;
const SAY_BACK_MS = 6_000;

const listeners = new Set<() => void>();
const returns = new Set<() => void>();
let connection: Connection = 'ok';
let timer: ReturnType<typeof setTimeout> | undefined;

export function useConnection(): Connection {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => connection,
  );
}

/** Called when the service answers again after it did not. */
export function onReturn(listener: () => void): () => void {
  returns.add(listener);
  return () => returns.delete(listener);
}

export function noteLost(): void {
  if (connection === 'lost') return;
  change('lost');
  askAgain();
}

function askAgain(): void {
  clearTimeout(timer);
  timer = setTimeout(() => void ask(), ASK_AGAIN_MS);
}

async function ask(): Promise<void> {
  try {
    const { ok } = await fetch(new URL('../health/ready', document.baseURI), { cache: 'no-store' });
    if (!ok) throw new Error('not ready');
  } catch {
    askAgain();
    return;
  }
  change('back');
  for (const listener of returns) listener();
  timer = setTimeout(() => change('ok'), SAY_BACK_MS);
}

function change(next: Connection): void {
  connection = next;
  for (const listener of listeners) listener();
}
