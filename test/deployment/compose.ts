import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

export interface HealthCheck {
  readonly test?: readonly string[];
}

export interface ComposeService {
  readonly image?: string;
  readonly build?: string;
  readonly restart?: string;
  readonly stop_grace_period?: string;
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  /** `<volume>:<path>`, and `:ro` for those that are only read. */
  readonly volumes?: readonly string[];
  readonly configs?: readonly { readonly source: string; readonly target: string }[];
  readonly healthcheck?: HealthCheck;
  readonly security_opt?: readonly string[];
  readonly mem_limit?: string;
  readonly read_only?: boolean;
  readonly tmpfs?: readonly string[];
}

export interface Compose {
  readonly name: string;
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly volumes: Readonly<Record<string, unknown>>;
  readonly configs?: Readonly<Record<string, { readonly content: string }>>;
}

/**
 * What Compose makes of the files: the variables put in, then each file merged into those before
 * it.
 *
 * @throws Error for a variable that is required and not there
 */
export function loadCompose(
  files: readonly string[],
  variables: Readonly<Record<string, string>>,
): Compose {
  let merged: unknown = {};
  for (const file of files) {
    const content: unknown = parse(readFileSync(file, 'utf8'));
    merged = merge(merged, interpolate(content, variables), []);
  }
  return merged as Compose;
}

function interpolate(node: unknown, variables: Readonly<Record<string, string>>): unknown {
  if (typeof node === 'string') return interpolateText(node, variables);
  if (Array.isArray(node)) return node.map((item) => interpolate(item, variables));
  if (!isMapping(node)) return node;
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) => [key, interpolate(value, variables)]),
  );
}

/** `$$`, `${NAME}`, `${NAME:-default}` and `${NAME:?message}`; anything else is a mistake. */
function interpolateText(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replaceAll(
    /\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\}|)/g,
    (match, name?: string, kind?: string, rest?: string) => {
      if (match === '$$') return '$';
      if (name === undefined) throw new Error(`a dollar sign that should be two: ${text}`);
      const value = variables[name] ?? '';
      if (value === '' && kind === '?') throw new Error(`${name} is required: ${rest ?? ''}`);
      return value === '' && kind === '-' ? (rest ?? '') : value;
    },
  );
}

/** Keys whose later value replaces the earlier one. */
const REPLACED: ReadonlySet<string> = new Set(['command', 'entrypoint', 'test']);

/** https://docs.docker.com/reference/compose-file/merge/, as far as the files here use it. */
function merge(base: unknown, over: unknown, path: readonly string[]): unknown {
  const key = path.at(-1) ?? '';
  if (isMapping(base) && isMapping(over)) {
    const merged = { ...base };
    for (const [name, value] of Object.entries(over)) {
      merged[name] = name in base ? merge(base[name], value, [...path, name]) : value;
    }
    return merged;
  }
  if (!Array.isArray(base) || !Array.isArray(over) || REPLACED.has(key)) return over;
  if (key !== 'volumes') return [...base, ...over];
  // One mount for each path.
  const mounts = [...base, ...over].map((mount: string) => [mount.split(':')[1], mount] as const);
  return [...new Map(mounts).values()];
}

function isMapping(node: unknown): node is Record<string, unknown> {
  return typeof node === 'object' && node !== null && !Array.isArray(node);
}
