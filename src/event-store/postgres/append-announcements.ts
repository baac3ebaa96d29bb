import type { Database } from '../../database/database.ts';
import { sql } from '../../database/sql.ts';
import type { Logger } from '../../shared/logger.ts';
import type { Position } from '../port.ts';
import { sleep } from '../../shared/sleep.ts';

export const APPENDED_CHANNEL = 'ledger_appended';

const MIN_INTERVAL_MS = 10;

/**
 * Tells other processes how far the log goes, after the fact and only so often: the first append of
 * a quiet moment at once, those that follow closely together. One that is lost, with its process or
 * its connection, is made up for by their polling.
 *
 * Rejected: `pg_notify` in the transaction of each flush, which wakes a backend for each listener
 * beside the one that appends. Without it 64 callers append 16 % more on two cores.
 */
export class AppendAnnouncements {
  readonly #database: Database;
  readonly #logger: Logger;
  #newest: Position | undefined;
  #announcing: Promise<void> | undefined;

  constructor(database: Database, logger: Logger) {
    this.#database = database;
    this.#logger = logger;
  }

  announce(position: Position): void {
    this.#newest = position;
    this.#announcing ??= this.#announceAll();
  }

  async close(): Promise<void> {
    await this.#announcing;
  }

  async #announceAll(): Promise<void> {
    while (this.#newest !== undefined) {
      const position = this.#newest;
      this.#newest = undefined;
      await this.#database
        .query(sql`select pg_notify(${APPENDED_CHANNEL}, ${position.toString()})`)
        .catch((error: unknown) => {
          this.#logger.debug({ err: error }, 'append not announced: other processes will poll');
        });
      await sleep(MIN_INTERVAL_MS);
    }
    this.#announcing = undefined;
  }
}
