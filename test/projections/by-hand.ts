import { openDatabase, type Database, type Queryable } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import type { DomainEvent } from '../../src/events/event.ts';
import { recordable } from '../../src/events/registry.ts';
import type { Position, RecordedEvent } from '../../src/event-store/port.ts';
import { parseStreamName, type StreamName } from '../../src/event-store/stream-name.ts';
import { ActiveGenerations } from '../../src/projections/engine/reading/active-generations.ts';
import { ProjectionEngine } from '../../src/projections/engine/engine.ts';
import type { Projection } from '../../src/projections/engine/projection.ts';
import { ReadModels } from '../../src/projections/engine/reading/read-models.ts';
import { newEventId } from '../../src/shared/ids.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { openTestLog } from '../event-store/test-log.ts';

/** What has happened, as a log would have recorded it: one second and one position an event. */
export class PastEvents {
  #position = 0n;
  readonly #revisions = new Map<StreamName, bigint>();

  record(
    stream: StreamName,
    event: DomainEvent,
    metadata: { readonly actor?: string; readonly occurredAt?: string } = {},
  ): RecordedEvent {
    this.#position += 1n;
    const revision = (this.#revisions.get(stream) ?? -1n) + 1n;
    this.#revisions.set(stream, revision);
    return {
      id: newEventId(),
      ...recordable(event, {
        projectId: parseStreamName(stream)?.projectId ?? '',
        actor: metadata.actor ?? 'k1',
        correlationId: 'r1',
        ...(metadata.occurredAt !== undefined && { occurredAt: metadata.occurredAt }),
      }),
      stream,
      revision,
      position: this.#position as Position,
      recordedAt: new Date(Date.UTC(2026, 0, 31) + Number(this.#position) * 1_000),
    };
  }
}

/** The tables of a projection that no runner fills: each batch is applied by hand. */
export interface TablesByHand {
  apply(batch: readonly RecordedEvent[]): Promise<void>;
  /** Applies a batch, and gives how many rows of a table that has written, each time it did. */
  writesTo(table: string, batch: readonly RecordedEvent[]): Promise<number>;
  /** The rows of a table for one project, as text, by the columns given. */
  rows(table: string, projectId: string, orderBy: string): Promise<string[]>;
}

interface ReadModelsByHand<Others extends readonly Projection[]> {
  readonly models: ReadModels;
  readonly tables: TablesByHand;
  /** Further tables of the same projection, to compare events one by one with whole batches. */
  readonly oneByOne: TablesByHand;
  /** The tables of the other projections, in their order. */
  readonly others: { readonly [Index in keyof Others]: TablesByHand };
  close(): Promise<void>;
}

/** Opens the read models of a projection, and of others that its queries read, in a database. */
export async function openByHand<Others extends readonly Projection[]>(
  databaseUrl: string,
  projection: Projection,
  ...otherProjections: Others
): Promise<ReadModelsByHand<Others>> {
  const logger = createLogger('silent');
  const database = openDatabase({ url: databaseUrl, logger });
  await migrate(database, logger);
  const store = await openTestLog({ databaseUrl, database, logger });
  const projections = [projection, ...otherProjections];
  const engine = new ProjectionEngine({
    database,
    store,
    projections,
    logger,
    processId: 'by-hand',
  });
  await engine.prepare();
  engine.active.close();
  const another = { ...projection, name: `${projection.name}_one_by_one` };
  const tables = await tablesByHand(database, projection, store.logId);
  const oneByOne = await tablesByHand(database, another, store.logId);
  const others: TablesByHand[] = [];
  for (const other of otherProjections) {
    others.push(await tablesByHand(database, other, store.logId));
  }
  await store.close();
  return {
    models: new ReadModels(database, engine),
    tables,
    oneByOne,
    // One for each projection, which a list that is filled in a loop does not tell.
    others: others as unknown as ReadModelsByHand<Others>['others'],
    close: () => database.close(),
  };
}

async function tablesByHand(
  database: Database,
  projection: Projection,
  logId: string,
): Promise<TablesByHand> {
  const answering = new ActiveGenerations(database, [projection], logId, () => undefined);
  await answering.prepare();
  const { schema } = answering.of(projection.name);
  // Beyond all that is applied, so that no query waits for a runner.
  await database.query({ text: `update ${schema}.checkpoint set position = 1000000` });
  const inSchema = <T>(work: (tx: Queryable) => Promise<T>): Promise<T> =>
    database.transaction(async (tx) => {
      await tx.query({ text: `set local search_path to ${schema}` });
      return work(tx);
    });
  return {
    apply: (batch) => inSchema((tx) => projection.apply(batch, tx)),
    writesTo: (table, batch) =>
      inSchema(async (tx) => {
        const before = await writesTo(tx, schema, table);
        await projection.apply(batch, tx);
        return (await writesTo(tx, schema, table)) - before;
      }),
    async rows(table, projectId, orderBy) {
      const rows = await database.query<{ row: string }>({
        text: `
          select t::text as row
          from ${schema}.${table} t
          where project_id = $1 /* project */
          order by ${orderBy}`,
        values: [projectId],
      });
      return rows.map(({ row }) => row);
    },
  };
}

/** Counted from an earlier transaction of the session on. */
async function writesTo(tx: Queryable, schema: string, table: string): Promise<number> {
  const [row] = await tx.query<{ writes: bigint }>({
    text: `
      select n_tup_ins + n_tup_upd + n_tup_del as writes
      from pg_stat_xact_user_tables
      where schemaname = $1 /* schema */
        and relname = $2 /* table */`,
    values: [schema, table],
  });
  return Number(row?.writes ?? 0);
}

/** Cuts a list into pieces of the given sizes, again and again; none is left out or empty. */
export function cut<Item>(items: readonly Item[], sizes: readonly number[]): Item[][] {
  const pieces: Item[][] = [];
  let start = 0;
  for (let index = 0; start < items.length; index += 1) {
    const size = sizes[index % sizes.length] ?? 1;
    pieces.push(items.slice(start, start + size));
    start += size;
  }
  return pieces;
}
