import type { Caller } from '../authentication.ts';

/**
 * All limits on what one request may bring and cause. They are far above what clients send that
 * behave: tables and arrays of 10,000 items, streams of 1,000,000 lines.
 */

const KIB = 1024;
const MIB = 1024 * KIB;

/** The limit of everything that a device sends, in bytes when inflated. */
const DEVICE_LIMIT_BYTES = 256 * KIB;

/** How many bytes a body may have that is otherwise allowed `limitBytes`. */
export function limitFor({ kind }: Pick<Caller, 'kind'>, limitBytes: number): number {
  return kind === 'device' ? Math.min(limitBytes, DEVICE_LIMIT_BYTES) : limitBytes;
}

export const STREAM_LIMITS = {
  /** Blank lines count, because each one is work. */
  lines: 2_000_000,
  /** A longer line is refused alone. */
  lineBytes: 256 * KIB,
  /** The size of the body when inflated. */
  bytes: 2048 * MIB,
  /** The size of the answer, which waits in a file until the last line has been read. */
  resultBytes: 512 * MIB,
};

/**
 * How many bytes a compressed body may become for each of its own. JSON and CSV of devices compress
 * 5 to
 * 30 times; zeros and repeated brackets compress 1,000 times.
 */
export const MAX_INFLATE_RATIO = 100;
/** The ratio counts once this much is inflated, because short bodies compress unevenly. */
export const INFLATE_RATIO_FROM_BYTES = 256 * KIB;

/** What a body may hold, counted before it is parsed. */
export const STRUCTURE_LIMITS = {
  /** A single item that nests deeper than any may is refused alone, so this is far above that. */
  depth: 32_768,
  /** Members and elements of JSON: 50 for each of 10,000 items. */
  values: 500_000,
  /** Different names of members: V8 keeps a table of them, and slows down with its size. */
  names: 100_000,
  columns: 100,
  cells: 500_000,
  /** Blank rows count, because they are skipped one by one. */
  lineBreaks: 100_000,
  /** A quote that is never closed makes all that follows one record. */
  recordBytes: 64 * KIB,
};

/** Larger bodies are parsed one at a time. */
export const HEAVY_BODY_BYTES = 256 * KIB;
export const MAX_WAITING_HEAVY_BODIES = 256;

/**
 * Pipelined requests of one connection that wait for those before them; the next one is refused.
 */
export const MAX_WAITING_REQUESTS = 64;
/** A connection that sends so many more is closed at once. */
export const MAX_DROPPED_REQUESTS = 256;

/** A body that is no stream has this long, and longer when it comes at the rate below. */
export const UPLOAD_GRACE_MS = 30_000;
export const UPLOAD_MIN_BYTES_PER_SECOND = 16 * KIB;
/** How long a client that was answered early may keep sending. */
export const REST_OF_BODY_MS = 10_000;
/** How long nothing of an answer may be read. */
export const ANSWER_STALL_MS = 30_000;

/** What all bodies together, and those of one key, may take in memory. */
export const IN_FLIGHT_LIMITS = {
  bytes: 160 * MIB,
  keyBytes: 80 * MIB,
  /** Smaller bodies are not counted. */
  uncountedBytes: 64 * KIB,
};
