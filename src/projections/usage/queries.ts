import { sql, type Sql } from '../../database/sql.ts';
import type { Position } from '../../event-store/port.ts';
import {
  atLeast,
  type ReadModels,
  type ReadOptions,
  type Versioned,
} from '../engine/reading/read-models.ts';
import { holderAt } from '../tenancy/projection/sim-assignments.ts';
import { QUARTER_HOUR_MS } from './projection/rollups.ts';
import { usageSubject } from './projection.ts';
import type { Edges } from './queries/buckets.ts';
import { usage } from './tables.ts';

/** What the usage is of: `nobody` stands for the SIM cards that belong to no organization. */
export type Subject =
  | { readonly kind: 'organization'; readonly id: string }
  | { readonly kind: 'nobody' }
  | { readonly kind: 'simcard'; readonly id: string };

export interface UsedInBucket {
  /** The start of the bucket, which is one of the edges, in epoch milliseconds. */
  readonly startMs: number;
  readonly bytes: bigint;
}

export interface PageOf {
  readonly limit: number;
  readonly offset: number;
}

export interface Counted<Item> {
  readonly items: Item[];
  /** The number of items on all pages. */
  readonly total: number;
}

/** What an organization or a SIM card used. */
export class UsageQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** The buckets with usage, oldest first: a page of them, and how many there are. */
  async byBucket(
    projectId: string,
    subject: Subject,
    {
      edges,
      page,
      asOf,
    }: { readonly edges: Edges; readonly page: PageOf; readonly asOf?: Position | undefined },
    options: ReadOptions,
  ): Promise<Versioned<Counted<UsedInBucket>>> {
    const isOfRecords = asOf !== undefined || edges.some((edge) => edge % QUARTER_HOUR_MS !== 0);
    const within = { from: new Date(edges[0] ?? 0), to: new Date(edges.at(-1) ?? 0) };
    const used = isOfRecords
      ? recordsOf(projectId, subject, within, asOf)
      : sumsOf(projectId, subject, within);
    const edgesText = `{${edges.map(edgeText).join(',')}}`;
    const { value, position } = await this.#models.read<{
      total: bigint;
      bucket: number | null;
      bytes: string | null;
    }>(
      sql`
        with buckets as materialized (
          select width_bucket(used_at, ${edgesText}::timestamptz[]) as bucket, sum(bytes) as bytes
          from (${used}) used
          group by bucket
        )
        select counted.total, on_page.bucket, on_page.bytes
        from (select count(*) as total from buckets) counted
        left join (
          select bucket, bytes
          from buckets
          order by bucket
          limit ${page.limit}
          offset ${page.offset}
        ) on_page on true
        order by bucket`,
      atLeast(options, asOf),
    );
    // Beyond the last page there is one row, which has only the total.
    const items = value.flatMap(({ bucket, bytes }) => {
      const startMs = bucket === null ? undefined : edges[bucket - 1];
      return startMs === undefined ? [] : [{ startMs, bytes: BigInt(bytes ?? 0) }];
    });
    return { value: { items, total: Number(value[0]?.total ?? 0) }, position };
  }

  /** Whether anything is known of it, or was as of a position: an assignment, or usage. */
  async isKnown(
    projectId: string,
    subject: Subject,
    asOf: Position | undefined,
    options: ReadOptions,
  ): Promise<boolean> {
    if (subject.kind === 'nobody') return true;
    const { value } = await this.#models.read(
      subject.kind === 'organization'
        ? sql`
            select
            from ${usage.sim_assignments}
            where project_id = ${projectId}
              and org_id = ${subject.id}
              and position <= coalesce(${asOf}::bigint, 9223372036854775807)
            limit 1`
        : sql`
            select
            where exists (
              select
              from ${usage.sim_assignments}
              where project_id = ${projectId}
                and sim_card_id = ${subject.id}
                and position <= coalesce(${asOf}::bigint, 9223372036854775807)
            )
            or exists (
              select
              from ${usage.records}
              where project_id = ${projectId}
                and sim_card_id = ${subject.id}
                and position <= coalesce(${asOf}::bigint, 9223372036854775807)
            )`,
      atLeast(options, asOf),
    );
    return value.length > 0;
  }

  /**
   * What a SIM card used from one time up to another, in bytes, as of a position. It waits for what
   * this process recorded of the SIM card, and for no position unless the options say so.
   */
  async ofSim(
    projectId: string,
    simCardId: string,
    { from, to, asOf }: { readonly from: Date; readonly to: Date; readonly asOf: Position },
    options: ReadOptions,
  ): Promise<Versioned<bigint>> {
    const { value, position } = await this.#models.read<{ bytes: string }>(
      sql`
        select coalesce(sum(bytes), 0) as bytes
        from ${usage.records}
        where project_id = ${projectId}
          and sim_card_id = ${simCardId}
          and used_at >= ${from}
          and used_at < ${to}
          and position <= ${asOf}`,
      {
        ...options,
        wait: { ...options.wait, projectId, about: [usageSubject(projectId, simCardId)] },
      },
    );
    return { value: BigInt(value[0]?.bytes ?? 0), position };
  }
}

const FIRST_YEAR_MS = Date.parse('0001-01-01T00:00:00Z');
const YEAR_10000_MS = Date.parse('+010000-01-01T00:00:00Z');

/**
 * An edge of an array, as PostgreSQL reads it. No usage is beyond the years of four digits.
 * Rejected: dates, which the driver writes one by one, and which keeps the process busy for 100 ms
 * where they are 20,000.
 */
function edgeText(epochMs: number): string {
  if (epochMs < FIRST_YEAR_MS) return '-infinity';
  return epochMs < YEAR_10000_MS ? new Date(epochMs).toISOString() : 'infinity';
}

interface Within {
  readonly from: Date;
  readonly to: Date;
}

/** The rollups of a subject, for buckets of whole quarters of an hour. */
function sumsOf(projectId: string, subject: Subject, { from, to }: Within): Sql {
  if (subject.kind === 'simcard') {
    return sql`
      select quarter_hour as used_at, bytes
      from ${usage.sim_quarter_hours}
      where project_id = ${projectId}
        and sim_card_id = ${subject.id}
        and quarter_hour >= ${from}
        and quarter_hour < ${to}`;
  }
  return sql`
    select quarter_hour as used_at, bytes
    from ${usage.org_quarter_hours}
    where project_id = ${projectId}
      and org_id = ${subject.kind === 'organization' ? subject.id : ''}
      and quarter_hour >= ${from}
      and quarter_hour < ${to}`;
}

/** The records of a subject, up to a position if one is given. */
function recordsOf(
  projectId: string,
  subject: Subject,
  { from, to }: Within,
  asOf: Position | undefined,
): Sql {
  if (subject.kind === 'simcard') {
    return sql`
      select used_at, bytes
      from ${usage.records}
      where project_id = ${projectId}
        and sim_card_id = ${subject.id}
        and used_at >= ${from}
        and used_at < ${to}
        and position <= coalesce(${asOf}::bigint, 9223372036854775807)`;
  }
  const holder = holderAt(usage.sim_assignments, 'r', sql`r.used_at`, asOf);
  if (subject.kind === 'nobody') {
    return sql`
      select r.used_at, r.bytes
      from ${usage.records} r
      left join lateral (${holder}) holder on true
      where r.project_id = ${projectId}
        and r.used_at >= ${from}
        and r.used_at < ${to}
        and r.position <= coalesce(${asOf}::bigint, 9223372036854775807)
        and coalesce(holder.org_id, '') = ''`;
  }
  // Only SIM cards that the organization ever held can have usage of it.
  return sql`
    select r.used_at, r.bytes
    from (
      select distinct sim_card_id
      from ${usage.sim_assignments}
      where project_id = ${projectId}
        and org_id = ${subject.id}
    ) s
    join ${usage.records} r on r.sim_card_id = s.sim_card_id
    cross join lateral (${holder}) holder
    where r.project_id = ${projectId}
      and r.used_at >= ${from}
      and r.used_at < ${to}
      and r.position <= coalesce(${asOf}::bigint, 9223372036854775807)
      and holder.org_id = ${subject.id}`;
}
