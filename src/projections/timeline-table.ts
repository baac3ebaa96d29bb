import type { Queryable } from '../database/database.ts';
import { insertRows } from '../database/rows.ts';
import type { Table } from '../database/sql.ts';
import type { RecordedEvent } from '../event-store/port.ts';
import type { JsonObject } from '../shared/json.ts';

/** An event as a timeline shows it, filed under what it is about: a device, a DevEUI, … */
export interface TimelineEvent {
  readonly projectId: string;
  readonly subject: string;
  readonly recorded: RecordedEvent;
  /** The data of the event without secrets. */
  readonly data: JsonObject;
}

/** DDL of a table that keeps the events about some kind of subject, for timelines. */
export function timelineTable(name: string): string {
  return `
    create table ${name} (
      project_id  text        not null collate "C",
      subject     text        not null collate "C",
      position    bigint      not null,
      event_id    uuid        not null,
      type        text        not null,
      occurred_at timestamptz,
      recorded_at timestamptz not null,
      actor       text        not null,
      data        json        not null
    )`;
}

/** DDL of its key, which `apply` does not need. */
export function timelineTableKey(name: string): string {
  return `alter table ${name} add primary key (project_id, subject, position)`;
}

export async function saveTimelineEvents(
  table: Table,
  events: readonly TimelineEvent[],
  tx: Queryable,
): Promise<void> {
  if (events.length === 0) return;
  await tx.query(
    insertRows(
      table,
      {
        project_id: ['text', ({ projectId }) => projectId],
        subject: ['text', ({ subject }) => subject],
        position: ['bigint', ({ recorded }) => recorded.position],
        event_id: ['uuid', ({ recorded }) => recorded.id],
        type: ['text', ({ recorded }) => recorded.type],
        occurred_at: ['timestamptz', ({ recorded }) => recorded.metadata.occurredAt],
        recorded_at: ['timestamptz', ({ recorded }) => recorded.recordedAt],
        actor: ['text', ({ recorded }) => recorded.metadata.actor],
        data: ['json', ({ data }) => data],
      },
      events,
    ),
  );
}
