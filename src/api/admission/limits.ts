/**
 * All limits on what one request may bring and cause. They are far above what clients send that behave:
 * tables and arrays of 10,000 items, streams of 1,000,000 lines.
 */

const KIB = 1024;
const MIB = 1024 * KIB;

/** The limit of everything that a device sends, in bytes when inflated. */
export const DEVICE_LIMIT_BYTES = 256 * KIB;

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
 * How many bytes a compressed body may become for each of its own. JSON and CSV of devices compress 5 to
 * 30 times; zeros and repeated brackets compress 1,000 times.
 */
export const MAX_INFLATE_RATIO = 100;
/** The ratio counts once this much is inflated, because short bodies compress unevenly. */
export const INFLATE_RATIO_FROM_BYTES = MIB;
