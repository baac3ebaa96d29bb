import type { Position } from '../../event-store/port.ts';
import {
  atLeast,
  type Versioned,
  type ReadModels,
  type ReadOptions,
} from '../engine/reading/read-models.ts';
import { holderAt } from '../tenancy/projection/sim-assignments.ts';
import type { Edges } from './queries/buckets.ts';
import { QUARTER_HOUR_MS } from './projection/rollups.ts';
import { usageSubject } from './projection.ts';

/** Whose usage. */
export type Subject =
  | { readonly kind: 'organization'; readonly id: string }
  /** Of the SIM cards that nobody holds. */
  | { readonly kind: 'nobody' }
  | { readonly kind: 'simcard'; readonly id: string };

export interface UsedInBucket {
  /** Where the bucket begins: one of the edges. Epoch milliseconds. */
  readonly startMs: number;
  readonly bytes: bigint;
}

export interface PageOf {
  readonly limit: number;
  readonly offset: number;
}

export interface Counted<Item> {
  readonly items: Item[];
  /** On all pages. */
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
    const source = (isOfRecords ? FROM_RECORDS : FROM_SUMS)[subject.kind];
    const { value, position } = await this.#models.read<{
      total: bigint;
      bucket: number | null;
      bytes: string | null;
    }>(
      'usage',
      {
        name: `usage-of-${subject.kind}-from-${isOfRecords ? 'records' : 'sums'}`,
        text: `
          with buckets as materialized (
            select width_bucket(used_at, $3::timestamptz[] /* edges */) as bucket, sum(bytes) as bytes
            from (${source}) used
            group by bucket
          )
          select counted.total, on_page.bucket, on_page.bytes
          from (select count(*) as total from buckets) counted
          left join (
            select bucket, bytes
            from buckets
            order by bucket
            limit $6 /* limit */
            offset $7 /* offset */
          ) on_page on true`,
        values: [
          projectId,
          keyOf(subject),
          `{${edges.map(edgeText).join(',')}}`,
          new Date(edges[0] ?? 0),
          new Date(edges.at(-1) ?? 0),
          page.limit,
          page.offset,
          ...(isOfRecords ? [asOf ?? null] : []),
        ],
        orderBy: 'bucket',
      },
      atLeast(options, asOf),
    );
    // Beyond the last page there is one row, with the total alone.
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
    const { value } = await this.#models.read<{ is_known: boolean }>(
      'usage',
      {
        name: `is-known-${subject.kind}`,
        text: KNOWN[subject.kind],
        values: [projectId, subject.id, asOf ?? null],
      },
      atLeast(options, asOf),
    );
    return value[0]?.is_known === true;
  }

  /**
   * What a SIM card used from one time up to another, in bytes, as of a position. It waits for what this
   * process recorded of the SIM card, and for no position unless the options say so.
   */
  async ofSim(
    projectId: string,
    simCardId: string,
    { from, to, asOf }: { readonly from: Date; readonly to: Date; readonly asOf: Position },
    options: ReadOptions,
  ): Promise<Versioned<bigint>> {
    const { value, position } = await this.#models.read<{ bytes: string }>(
      'usage',
      {
        name: 'usage-of-sim',
        text: `
          select coalesce(sum(bytes), 0) as bytes
          from read_usage.records
          where project_id = $1 /* project */
            and sim_card_id = $2 /* SIM card */
            and used_at >= $3 /* from */
            and used_at < $4 /* to */
            and position <= $5 /* as of */`,
        values: [projectId, simCardId, from, to, asOf],
      },
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
 * An edge of an array, as PostgreSQL reads it. No usage is beyond the years of four digits. Rejected: dates,
 * which the driver writes one by one, and which keeps the process busy for 100 ms where they are 20,000.
 */
function edgeText(epochMs: number): string {
  if (epochMs < FIRST_YEAR_MS) return '-infinity';
  return epochMs < YEAR_10000_MS ? new Date(epochMs).toISOString() : 'infinity';
}

/** As the tables name a subject. */
function keyOf(subject: Subject): string {
  return subject.kind === 'nobody' ? '' : subject.id;
}

const OF_ORGANIZATION = `
  select quarter_hour as used_at, bytes
  from read_usage.org_quarter_hours
  where project_id = $1 /* project */
    and org_id = $2 /* organization */
    and quarter_hour >= $4 /* from */
    and quarter_hour < $5 /* to */`;

/** $1 project, $2 organization or SIM card, $4 from, $5 to. */
const FROM_SUMS: Readonly<Record<Subject['kind'], string>> = {
  organization: OF_ORGANIZATION,
  nobody: OF_ORGANIZATION,
  simcard: `
    select quarter_hour as used_at, bytes
    from read_usage.sim_quarter_hours
    where project_id = $1 /* project */
      and sim_card_id = $2 /* SIM card */
      and quarter_hour >= $4 /* from */
      and quarter_hour < $5 /* to */`,
};

/** The same, and $8 as of, if that is a position. */
const FROM_RECORDS: Readonly<Record<Subject['kind'], string>> = {
  // Others than the SIM cards that it ever held need not be looked at.
  organization: `
    select used_at, bytes
    from (
      ${heldRecords(
        '$8::bigint',
        `
        (
          select distinct sim_card_id
          from read_usage.sim_assignments
          where project_id = $1 /* project */
            and org_id = $2 /* organization */
        ) s
        join read_usage.records r
          on r.sim_card_id = s.sim_card_id`,
      )}
        and r.used_at >= $4 /* from */
        and r.used_at < $5 /* to */
    ) held
    where org_id = $2 /* organization */`,
  nobody: `
    select used_at, bytes
    from (
      ${heldRecords('$8::bigint')}
        and r.used_at >= $4 /* from */
        and r.used_at < $5 /* to */
    ) held
    where org_id = $2 /* nobody */`,
  simcard: `
    select used_at, bytes
    from read_usage.records
    where project_id = $1 /* project */
      and sim_card_id = $2 /* SIM card */
      and used_at >= $4 /* from */
      and used_at < $5 /* to */
      and position <= coalesce($8::bigint, 9223372036854775807) /* as of */`,
};

/**
 * The records of a project with who held their SIM cards then, up to a position if `asOf` is one. `from`: with what
 * they are joined, as `r`.
 */
export function heldRecords(asOf: string, from = 'read_usage.records r'): string {
  const known = `and a.position <= coalesce(${asOf}, 9223372036854775807) /* as of */`;
  return `
      select r.sim_card_id, coalesce(holder.org_id, '') as org_id, r.used_at, r.bytes
      from ${from}
      left join lateral (
        ${holderAt('r', 'r.used_at', { schema: 'read_usage.', known })}
      ) holder on true
      where r.project_id = $1 /* project */
        and r.position <= coalesce(${asOf}, 9223372036854775807) /* as of */`;
}

const KNOWN = {
  organization: `
    select exists (
      select
      from read_usage.sim_assignments
      where project_id = $1 /* project */
        and org_id = $2 /* organization */
        and position <= coalesce($3::bigint, 9223372036854775807) /* as of */
    ) as is_known`,
  simcard: `
    select
      exists (
        select
        from read_usage.sim_assignments
        where project_id = $1 /* project */
          and sim_card_id = $2 /* SIM card */
          and position <= coalesce($3::bigint, 9223372036854775807) /* as of */
      )
      or exists (
        select
        from read_usage.records
        where project_id = $1 /* project */
          and sim_card_id = $2 /* SIM card */
          and position <= coalesce($3::bigint, 9223372036854775807) /* as of */
      ) as is_known`,
} as const;
