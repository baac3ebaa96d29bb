import { isObject } from './tree.tsx';

export interface Revision {
  readonly revision: number;
  readonly patch: Readonly<Record<string, unknown>>;
  readonly recorded_at: string;
  readonly actor: string;
}

interface Setter {
  readonly path: string;
  readonly revision: number;
  readonly recordedAt: string;
  readonly actor: string;
}

/**
 * Each member of the state at a revision with the patch that set it last. Members that a merge
 * patch removed (`null`) are left out, as the state does not hold them.
 */
export function settersOf(newestFirst: readonly Revision[], upTo: number): readonly Setter[] {
  const found = new Map<string, Setter | undefined>();
  for (const { revision, patch, recorded_at: recordedAt, actor } of newestFirst) {
    if (revision > upTo) continue;
    for (const [path, value] of leavesOf(patch, '')) {
      if (found.has(path) || isUnderRemoved(found, path)) continue;
      found.set(path, value === null ? undefined : { path, revision, recordedAt, actor });
    }
  }
  const setters = [...found.values()].filter((setter) => setter !== undefined);
  return setters.toSorted((one, other) => one.path.localeCompare(other.path));
}

/** A member that was removed, or replaced by a value, later took its own members with it. */
function isUnderRemoved(found: ReadonlyMap<string, unknown>, path: string): boolean {
  const names = path.split('.');
  return names.some((_name, index) => index > 0 && found.has(names.slice(0, index).join('.')));
}

function* leavesOf(
  patch: Readonly<Record<string, unknown>>,
  above: string,
): Generator<[string, unknown]> {
  for (const [name, value] of Object.entries(patch)) {
    const path = above === '' ? name : `${above}.${name}`;
    if (isObject(value) && Object.keys(value).length > 0) yield* leavesOf(value, path);
    else yield [path, value];
  }
}
