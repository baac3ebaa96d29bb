import { useSyncExternalStore } from 'react';

/**
 * The keys of this browser tab: one of a project, one of an admin, or both. They are kept in
 * `sessionStorage`, which ends with the tab, and never become part of a URL.
 */
export interface HeldKeys {
  /** The service refused a key that it had accepted before: it was revoked. */
  readonly isRevoked?: boolean;
  readonly project?: HeldKey;
  readonly admin?: HeldKey;
}

export interface HeldKey {
  readonly key: string;
  readonly id: string;
  readonly projectId: string | null;
  readonly holder: string | null;
  readonly role: 'owner' | 'member' | 'viewer' | null;
}

export type Scope = 'project' | 'admin';

const STORED_AS = 'fleetledger.keys';
const listeners = new Set<() => void>();
let held = stored();

export function heldKeys(): HeldKeys {
  return held;
}

export function useKeys(): HeldKeys {
  return useSyncExternalStore(subscribe, heldKeys);
}

/** Whether the key of the project may change something: a viewer gets no controls that write. */
export function useMayWrite(): boolean {
  const role = useKeys().project?.role;
  return role === 'owner' || role === 'member';
}

export function hold(scope: Scope, key: HeldKey): void {
  const { isRevoked: _past, ...keys } = held;
  change({ ...keys, [scope]: key });
}

export function letGo(scope: Scope): void {
  const { [scope]: _gone, ...rest } = held;
  change(rest);
}

/** Forgets a key that the service refuses. */
export function noteRevoked(scope: Scope): void {
  if (held[scope] === undefined) return;
  letGo(scope);
  change({ ...held, isRevoked: true });
}

function change(next: HeldKeys): void {
  held = next;
  sessionStorage.setItem(STORED_AS, JSON.stringify(held));
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function stored(): HeldKeys {
  try {
    return JSON.parse(sessionStorage.getItem(STORED_AS) ?? '{}') as HeldKeys;
  } catch {
    return {};
  }
}
