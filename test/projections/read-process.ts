import { randomUUID } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { FoldedStates } from '../../src/commands/core/folded-states.ts';
import { CommandHandler } from '../../src/commands/core/handler.ts';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { observed, type ObservedLog } from '../../src/event-store/observed-log.ts';
import { openPostgresSnapshotStore } from '../../src/event-store/postgres/postgres-snapshot-store.ts';
import { ProjectionAdministration } from '../../src/projections/engine/administration.ts';
import { ProjectionEngine, type EngineOptions } from '../../src/projections/engine/engine.ts';
import type { Projection } from '../../src/projections/engine/projection.ts';
import { ReadModels } from '../../src/projections/engine/reading/read-models.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { openTestLog } from '../event-store/test-log.ts';

const logger = createLogger('silent');

/**
 * What a process of its own has: the log, the write side, and projections, which may run or not.
 */
export interface ReadProcess {
  readonly processId: string;
  readonly database: Database;
  readonly store: ObservedLog;
  readonly handler: CommandHandler;
  readonly engine: ProjectionEngine;
  readonly administration: ProjectionAdministration;
  readonly models: ReadModels;
  stop(): Promise<void>;
}

export interface ReadProcessOptions extends Partial<EngineOptions> {
  readonly url: string;
  readonly projections: readonly Projection[];
  /** A read that takes longer is given up. */
  readonly readTimeoutMs?: number;
}

/** The projections are prepared, and not running. Stopped at the latest when the test ends. */
export async function startReadProcess(options: ReadProcessOptions): Promise<ReadProcess> {
  const processId = randomUUID();
  const database = openDatabase({ url: options.url, logger, maxConnections: 6 });
  const readers = openDatabase({
    url: options.url,
    logger,
    maxConnections: 6,
    statementTimeoutMs: options.readTimeoutMs ?? 0,
  });
  const log = await openTestLog({ databaseUrl: options.url, database, logger });
  const store = observed(log);
  const engine = new ProjectionEngine({ database, store, logger, processId, ...options });
  await engine.prepare();
  store.onAppended((write, position) => engine.freshness.appended(write, position));
  const states = new FoldedStates(store, openPostgresSnapshotStore(database, log.logId), logger);
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> =>
    (stopped ??= (async () => {
      await engine.stop();
      await log.close();
      await readers.close();
      await database.close();
    })());
  onTestFinished(stop);
  return {
    processId,
    database,
    store,
    handler: new CommandHandler(store, states),
    engine,
    administration: new ProjectionAdministration(database, store, options.projections, engine),
    models: new ReadModels(readers, engine),
    stop,
  };
}
