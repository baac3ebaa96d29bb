/**
 * The first number of each advisory lock that the product takes; the second names what is locked. One
 * list, so that no number means two things. (`ledger.append` in the migrations takes `appender`, too,
 * and the embedded server has its own, in `embedded-server/membership.ts`.)
 */
export const LOCKS = {
  /** Whoever appends to the log, one after the other. */
  appender: 7001,
  /** The making, swap and end of the generations of a projection. */
  generations: 7002,
  /** Leadership among the processes on one database. */
  leadership: 7003,
  /** The making of the indexes of one generation. */
  indexes: 7004,
} as const;
