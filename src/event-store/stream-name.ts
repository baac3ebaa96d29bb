import type { StreamCategory } from '../events/registry.ts';

declare const streamNameBrand: unique symbol;
/** `category-<project>.<id>`: made by `streamName` only. */
export type StreamName = string & { readonly [streamNameBrand]: true };

/** The project of streams that belong to the installation: no project can be called so. */
export const INSTALLATION_PROJECT = '_installation';

/**
 * The name of a stream. The category ends at the first `-` and the project at the first `.`, which
 * neither may contain; the id is all that follows, so no id can reach another stream or category.
 * Several parts of an id are joined by `/`, which is then escaped inside them.
 *
 * Ids stay readable: only what would break the name or the wire is escaped, `%` itself, control
 * characters (they separate values on the way to PostgreSQL) and lone surrogates (no UTF-8 for
 * them). So 256 characters are at most 1,536 bytes, within what a PostgreSQL index takes (2,704).
 */
export function streamName(
  category: StreamCategory,
  projectId: string,
  ...id: readonly [string, ...string[]]
): StreamName {
  if (!/^[a-z]+$/.test(category)) throw new TypeError(`not a stream category: ${category}`);
  if (!/^[a-z0-9_][a-z0-9_-]*$/.test(projectId))
    throw new TypeError(`not a project id: ${projectId}`);
  const parts =
    id.length === 1 ? [escape(id[0])] : id.map((part) => escape(part).replaceAll('/', '%2F'));
  return `${category}-${projectId}.${parts.join('/')}` as StreamName;
}

export interface ParsedStreamName {
  readonly category: string;
  readonly projectId: string;
  /** As it was given, when it had one part. */
  readonly id: string;
}

/** Whether it has the form of a name that `streamName` makes. */
export function isStreamName(name: string): name is StreamName {
  return /^[a-z]+-[a-z0-9_][a-z0-9_-]*\./.test(name);
}

export function parseStreamName(name: string): ParsedStreamName | undefined {
  const match = /^([a-z]+)-([a-z0-9_][a-z0-9_-]*)\.(.*)$/su.exec(name);
  if (match === null) return undefined;
  const [, category = '', projectId = '', id = ''] = match;
  return { category, projectId, id: unescape(id) };
}

// `%uXXXX` (a lone surrogate) cannot be taken for `%XX`: `u` is no hex digit.
// oxlint-disable-next-line no-control-regex -- these are what is looked for
const UNSAFE = /[%\u0000-\u001f\u007f-\u009f]|\p{Surrogate}/gu;

function escape(text: string): string {
  return text.replace(UNSAFE, (char) => {
    const unit = char.charCodeAt(0);
    return unit < 0x100
      ? `%${unit.toString(16).toUpperCase().padStart(2, '0')}`
      : `%u${unit.toString(16).toUpperCase()}`;
  });
}

function unescape(text: string): string {
  return text.replace(/%u([0-9A-F]{4})|%([0-9A-F]{2})/g, (_all, wide?: string, narrow?: string) =>
    String.fromCharCode(Number.parseInt(wide ?? narrow ?? '', 16)),
  );
}

/** What admins have done with a projection. */
export function projectionStream(projection: string): StreamName {
  return streamName('projection', INSTALLATION_PROJECT, projection);
}
