import { expect, vi } from 'vitest';
import type { Database } from '../../src/database/database.ts';
import { sql, tablesOf, type Table } from '../../src/database/sql.ts';
import type { EventStore, Position } from '../../src/event-store/port.ts';
import { testStreamName } from '../event-store/test-stream-name.ts';
import { liveGenerations } from '../../src/projections/engine/generations/generations.ts';
import type { ProjectionStatus } from '../../src/projections/engine/administration.ts';
import type { WaitOptions } from '../../src/projections/engine/reading/freshness.ts';
import { newEventId } from '../../src/shared/ids.ts';
import { notesProjection, type NotesOptions } from './notes-projection.ts';
import type { ReadProcess } from './read-process.ts';

export const EVENTUALLY = { timeout: 40_000, interval: 20 };

let ledgers = 0;

/** A projection of the test's own, over a type of events that no other test appends. */
export class Notes {
  readonly name: string;
  readonly type: string;
  readonly table: Table;

  readonly #database: Database;

  constructor(database: Database, name?: string, type?: string) {
    this.#database = database;
    ledgers += 1;
    this.name = name ?? `notes_${ledgers}`;
    this.type = type ?? `Noted${ledgers}`;
    this.table = tablesOf(this.name, ['notes']).notes;
  }

  projection(writer: string, options: Partial<NotesOptions> = {}) {
    return notesProjection({ name: this.name, type: this.type, writer, ...options });
  }

  /** Notes are `0`, `1`, … unless they are given. Answers where each stands. */
  async append(
    store: EventStore,
    notes: readonly string[],
    projectId?: string,
  ): Promise<Position[]> {
    const positions: Position[] = [];
    for (const note of notes) positions.push(await appendEvent(store, this.type, note, projectId));
    return positions;
  }

  /** The schema of the live tables. */
  async schema(version = 1): Promise<string> {
    const generations = await liveGenerations(this.#database, this.name);
    const live = generations.find((generation) => generation.version === version);
    if (live === undefined) throw new Error(`'${this.name}' has no live tables`);
    return live.schema;
  }

  /** In the order in which they were written down, by whom. */
  async rows(): Promise<{ position: bigint; note: string; writer: string }[]> {
    return this.#database.query({
      text: `select position, note, writer from ${await this.schema()}.notes order by position`,
    });
  }

  async noted(): Promise<string[]> {
    return (await this.rows()).map(({ note }) => note);
  }

  async writers(): Promise<string[]> {
    return [...new Set((await this.rows()).map(({ writer }) => writer))];
  }

  async checkpoint(): Promise<Position> {
    const [row] = await this.#database.query<{ position: bigint }>({
      text: `select position from ${await this.schema()}.checkpoint`,
    });
    return row?.position as Position;
  }

  /** As queries read it. */
  read({ models }: ReadProcess, minPosition?: Position, wait: WaitOptions = {}) {
    return models.read<{ note: string }>(
      sql`select position, note from ${this.table} order by position`,
      minPosition === undefined ? { wait } : { wait, minPosition },
    );
  }

  async eventuallyNotes(expected: readonly string[]): Promise<void> {
    await vi.waitFor(async () => expect(await this.noted()).toEqual(expected), EVENTUALLY);
  }

  status({ administration }: ReadProcess): Promise<ProjectionStatus> {
    return administration.status(this.name);
  }
}

export async function appendEvent(
  store: EventStore,
  type: string,
  note: string,
  projectId = 'acme',
): Promise<Position> {
  const [appended] = await store.append([
    {
      stream: testStreamName('notes', projectId, newEventId()),
      expectedRevision: 'no-stream',
      events: [
        {
          id: newEventId(),
          type,
          data: { note },
          metadata: {
            projectId,
            actor: 'system:test',
            correlationId: 'r1',
            schemaVersion: 1,
          },
        },
      ],
    },
  ]);
  if (appended?.outcome !== 'appended') throw new Error('an event was not appended');
  return appended.position;
}

/** Notes by number. */
export const numbered = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, index) => String(from + index));
