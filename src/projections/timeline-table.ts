import type { Queryable } from '../database/database.ts';
import type { RecordedEvent } from '../event-store/port.ts';
import type { JsonObject } from '../shared/json.ts';

/** An event as a timeline shows it, filed under what it is about: a device, a DevEUI, … */
export interface TimelineEvent {
  readonly projectId: string;
  readonly subject: string;
  readonly recorded: RecordedEvent;
  /** Of the event, without what is secret. */
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

/** Nothing looks into it while it is written. */
export function timelineTableKey(name: string): string {
  return `alter table ${name} add primary key (project_id, subject, position)`;
}

export async function saveTimelineEvents(
  table: string,
  events: readonly TimelineEvent[],
  tx: Queryable,
): Promise<void> {
  if (events.length === 0) return;
  await tx.query({
    name: `save-${table}`,
    text: `
      insert into ${table}
        (project_id, subject, position, event_id, type, occurred_at, recorded_at, actor, data)
      select *
      from unnest(
        $1::text[],                                   /* projects */
        $2::text[],                                   /* subjects */
        $3::bigint[],                                 /* positions */
        $4::uuid[],                                   /* event ids */
        $5::text[],                                   /* types */
        string_to_array($6, ',', '')::timestamptz[],  /* occurred at */
        $7::timestamptz[],                            /* recorded at */
        $8::text[],                                   /* actors */
        $9::json[]                                    /* data */
      )`,
    values: [
      events.map(({ projectId }) => projectId),
      events.map(({ subject }) => subject),
      events.map(({ recorded }) => recorded.position),
      events.map(({ recorded }) => recorded.id),
      events.map(({ recorded }) => recorded.type),
      events.map(({ recorded }) => recorded.metadata.occurredAt ?? '').join(','),
      events.map(({ recorded }) => recorded.recordedAt),
      events.map(({ recorded }) => recorded.metadata.actor),
      events.map(({ data }) => JSON.stringify(data)),
    ],
  });
}
