import type { Position } from '../../event-store/port.ts';
import { atLeast, type Fresh, type ReadModels, type ReadOptions } from '../engine/read-model.ts';
import type { Edges } from './buckets.ts';

/** Whose usage: that of an organization, '' for nobody, or of a SIM card. */
export interface Subject {
  readonly kind: 'organization' | 'simcard';
  readonly id: string;
}

export interface UsedInBucket {
  /** Where the bucket begins: one of the edges. Epoch milliseconds. */
  readonly startMs: number;
  readonly bytes: number;
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

const QUARTER_MS = 15 * 60_000;

/** What an organization or a SIM card used, by buckets. */
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
  ): Promise<Fresh<Counted<UsedInBucket>>> {
    const isRaw = asOf !== undefined || edges.some((edge) => edge % QUARTER_MS !== 0);
    const source = SOURCES[subject.kind][isRaw ? 'records' : 'quarters'];
    const { value, position } = await this.#models.read<{
      total: bigint;
      bucket: number | null;
      bytes: string | null;
    }>(
      'usage',
      {
        name: `usage-of-${subject.kind}-by-${isRaw ? 'record' : 'quarter'}`,
        text: `
          with sums as materialized (
            select width_bucket(used_at, $3::timestamptz[] /* edges */) as bucket, sum(bytes) as bytes
            from (${source}) used
            group by bucket
          )
          select counted.total, on_page.bucket, on_page.bytes
          from (select count(*) as total from sums) counted
          left join (
            select bucket, bytes
            from sums
            order by bucket
            limit $6 /* limit */
            offset $7 /* offset */
          ) on_page on true`,
        values: [
          projectId,
          subject.id,
          edges.map((edge) => new Date(edge)),
          new Date(edges[0] ?? 0),
          new Date(edges.at(-1) ?? 0),
          page.limit,
          page.offset,
          ...(isRaw ? [asOf ?? null] : []),
        ],
        orderBy: 'bucket',
      },
      atLeast(options, asOf),
    );
    // Beyond the last page there is one row, with the total alone.
    const items = value.flatMap(({ bucket, bytes }) => {
      const startMs = bucket === null ? undefined : edges[bucket - 1];
      return startMs === undefined ? [] : [{ startMs, bytes: Number(bytes) }];
    });
    return { value: { items, total: Number(value[0]?.total ?? 0) }, position };
  }

  /** Whether anything is known of it: an assignment, or usage. Nobody is known. */
  async isKnown(projectId: string, { kind, id }: Subject, options: ReadOptions): Promise<boolean> {
    if (kind === 'organization' && id === '') return true;
    const { value } = await this.#models.read<{ is_known: boolean }>(
      'usage',
      { name: `is-known-${kind}`, text: KNOWN[kind], values: [projectId, id] },
      options,
    );
    return value[0]?.is_known === true;
  }

  /** What a SIM card used from one time up to another, in bytes. */
  async ofSim(
    projectId: string,
    simCardId: string,
    {
      from,
      to,
      asOf,
    }: { readonly from: Date; readonly to: Date; readonly asOf: Position | undefined },
    options: ReadOptions,
  ): Promise<Fresh<number>> {
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
            and position <= coalesce($5::bigint, 9223372036854775807) /* as of */`,
        values: [projectId, simCardId, from, to, asOf ?? null],
      },
      atLeast(options, asOf),
    );
    return { value: Number(value[0]?.bytes ?? 0), position };
  }
}

/** The records with who held their SIM cards, up to a position if `asOf` is one. */
export function heldRecords(asOf: string): string {
  return `
    select r.sim_card_id, coalesce(holder.org_id, '') as org_id, r.used_at, r.bytes
    from read_usage.records r
    left join lateral (
      select a.org_id
      from read_usage.sim_assignments a
      where a.project_id = r.project_id
        and a.sim_card_id = r.sim_card_id
        and a.from_time <= r.used_at
        and a.position <= coalesce(${asOf}, 9223372036854775807) /* as of */
      order by a.from_time desc, a.position desc
      limit 1
    ) holder on true
    where r.project_id = $1 /* project */
      and r.position <= coalesce(${asOf}, 9223372036854775807) /* as of */`;
}

/** $1 project, $2 organization or SIM card, $4 from, $5 to, $8 as of. */
const SOURCES: Readonly<Record<Subject['kind'], Readonly<Record<'quarters' | 'records', string>>>> =
  {
    organization: {
      quarters: `
      select quarter as used_at, bytes
      from read_usage.org_quarters
      where project_id = $1 /* project */
        and org_id = $2 /* organization */
        and quarter >= $4 /* from */
        and quarter < $5 /* to */`,
      records: `
      select used_at, bytes
      from (
        ${heldRecords('$8::bigint')}
          and r.used_at >= $4 /* from */
          and r.used_at < $5 /* to */
          /* Others than those that it ever held need not be looked at. */
          and ($2 = '' or r.sim_card_id in (
            select a.sim_card_id
            from read_usage.sim_assignments a
            where a.project_id = $1 /* project */
              and a.org_id = $2 /* organization */
          ))
      ) held
      where org_id = $2 /* organization */`,
    },
    simcard: {
      quarters: `
      select quarter as used_at, bytes
      from read_usage.sim_quarters
      where project_id = $1 /* project */
        and sim_card_id = $2 /* SIM card */
        and quarter >= $4 /* from */
        and quarter < $5 /* to */`,
      records: `
      select used_at, bytes
      from read_usage.records
      where project_id = $1 /* project */
        and sim_card_id = $2 /* SIM card */
        and used_at >= $4 /* from */
        and used_at < $5 /* to */
        and position <= coalesce($8::bigint, 9223372036854775807) /* as of */`,
    },
  };

const KNOWN: Readonly<Record<Subject['kind'], string>> = {
  organization: `
    select exists (
      select
      from read_usage.sim_assignments
      where project_id = $1 /* project */
        and org_id = $2 /* organization */
    ) as is_known`,
  simcard: `
    select
      exists (
        select
        from read_usage.sim_assignments
        where project_id = $1 /* project */
          and sim_card_id = $2 /* SIM card */
      )
      or exists (
        select
        from read_usage.records
        where project_id = $1 /* project */
          and sim_card_id = $2 /* SIM card */
      ) as is_known`,
};
