import { existsSync } from 'node:fs';
import { loadConfig } from '../config.ts';
import { openDatabase, type Database } from '../database/database.ts';
import { openEmbeddedServer } from '../database/embedded-server/embedded-server.ts';
import { migrate } from '../database/migrations.ts';
import { checkServer } from '../database/server-check.ts';
import { checkUrl, EventStoreUrlError } from '../event-store/eventstoredb/connection.ts';
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
      try {
        checkUrl(url);
      } catch (error) {
        if (!(error instanceof EventStoreUrlError)) throw error;
        throw new UsageError(`${option}: ${error.message}`);
      }
      return { log: this.#kept(await openEventStoreDB({ url, logger })), database: undefined };
    }
    if (url !== EMBEDDED && !/^postgres(ql)?:\/\//.test(url)) {
      throw new UsageError(
        `${option}: '${url}' is not a log: give postgres://…, esdb://…, or embedded for the one ` +
          'in DATA_DIR.',
      );
    }
    const database = await this.#database(url);
    return { log: this.#kept(await openPostgresEventStore({ database, logger })), database };
  }

  /** The one that the settings name, if they name one. */
  async configuredDatabase(): Promise<Database | undefined> {
    const { databaseUrl } = loadConfig();
    return databaseUrl === undefined ? undefined : this.#database(databaseUrl);
  }

  /**
   * The one that services beside a log in EventStoreDB use.
   * @throws UsageError when the settings are not those of any: it could not be seen who writes
   */
  async databaseOfServices(): Promise<Database> {
    const configured = await this.configuredDatabase();
    if (configured !== undefined) return configured;
    const { dataDir } = loadConfig();
    if (existsSync(dataDir)) return this.#database(EMBEDDED);
    throw new UsageError(
      `There is no ${dataDir}: set DATABASE_URL or DATA_DIR as the service has them, so that ` +
        'it is seen whether it still writes.',
    );
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
    await checkServer(database);
    await migrate(database, logger);
    return database;
  }

  #kept<Opened extends { close(): Promise<void> }>(opened: Opened): Opened {
    this.#closing.push(() => opened.close());
    return opened;
  }
}
