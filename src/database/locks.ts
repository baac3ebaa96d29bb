/**
 * The first number of each advisory lock that the product takes; the second names what is locked.
 * All of them are in this list, so that no number has two meanings.
 */
export const LOCKS = {
  /** Taken by whoever appends to the log, also by `ledger.append` in the migrations. */
  appender: 7001,
  /** Taken to create, swap or drop generations of a projection. */
  generations: 7002,
  /** Leadership among the processes on one database. */
  leadership: 7003,
  /** Taken to create the indexes of one generation. */
  indexes: 7004,
  /** Held by the sessions of processes that use the embedded server (`EMBEDDED_SERVER_USE`). */
  embeddedServer: 0x464c4544,
} as const;

/**
 * The second numbers of the locks of the embedded server. Sessions hold them, so PostgreSQL
 * releases what a dead process held.
 */
export const EMBEDDED_SERVER_USE = {
  /** Shared by all who use the server; exclusive for the one who stops it. */
  users: 1,
  /** Exclusive, for the service. */
  service: 2,
} as const;
