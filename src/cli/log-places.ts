import { loadConfig } from '../config.ts';
import { openDatabase, type Database } from '../database/database.ts';
import { openEmbeddedServer } from '../database/embedded-server/embedded-server.ts';
import { migrate } from '../database/migrations.ts';
import { openEventStoreDB } from '../event-store/eventstoredb/eventstoredb-event-store.ts';
import type { OpenEventStore } from '../event-store/port.ts';
import { openPostgresEventStore } from '../event-store/postgres/postgres-event-store.ts';
import type { Logger } from '../shared/logger.ts';
import { UsageError } from './ending.ts';

/** A log, and the database that it is in, if it is in one. */
export interface Place {
  readonly log: OpenEventStore;
  readonly database: Database | undefined;
}

const EMBEDDED = 'embedded';

/** Logs by their addresses; what was opened is closed together. */
export class Places {
  readonly #logger: Logger;
  readonly #closing: (() => Promise<void>)[] = [];

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @throws UsageError for what is no address, which `option` gave */
  async open(option: string, url: string): Promise<Place> {
    const logger = this.#logger;
    if (/^esdb(\+discover)?:\/\//.test(url)) {
      return { log: this.#kept(await openEventStoreDB({ url, logger })), database: undefined };
    }
    if (url !== EMBEDDED && !/^postgres(ql)?:\/\//.test(url)) {
      throw new UsageError(
        `${option}: '${url}' is no log: give postgres://…, esdb://…, or embedded for the one in DATA_DIR.`,
      );
    }
    const database = await this.#database(url);
    return { log: this.#kept(await openPostgresEventStore({ database, logger })), database };
  }

  /** The one that the settings name. */
  configuredDatabase(): Promise<Database> {
    return this.#database(loadConfig().databaseUrl ?? EMBEDDED);
  }

  async close(): Promise<void> {
    for (const close of this.#closing.toReversed()) await close();
  }

  async #database(url: string): Promise<Database> {
    const logger = this.#logger;
    const { dataDir } = loadConfig();
    const embedded =
      url === EMBEDDED
        ? this.#kept(await openEmbeddedServer({ dataDir, logger, role: 'tool' }))
        : undefined;
    const database = openDatabase({ url: embedded?.url ?? url, logger, maxConnections: 4 });
    this.#kept(database);
    await migrate(database, logger);
    return database;
  }

  #kept<Opened extends { close(): Promise<void> }>(opened: Opened): Opened {
    this.#closing.push(() => opened.close());
    return opened;
  }
}
