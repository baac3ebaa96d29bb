import { sql, type Sql, type Table } from '../../../database/sql.ts';
import type { Position } from '../../../event-store/port.ts';
import {
  atLeast,
  type ReadModels,
  type ReadOptions,
  type Versioned,
} from '../../engine/reading/read-models.ts';
import { holderAt } from '../../tenancy/projection/sim-assignments.ts';
import { QUARTER_HOUR_MS } from '../projection/rollups.ts';
import type { Counted, PageOf } from '../queries.ts';
import { usage } from '../tables.ts';

export interface OrganizationTotal {
  /** Null for SIM cards that belong to no organization. */
  readonly orgId: string | null;
  readonly bytes: bigint;
}

export interface SimTotal extends OrganizationTotal {
  readonly simCardId: string;
}

/** A period in epoch milliseconds: from a time on, and before another; either may be open. */
export interface UsedWithin {
  readonly fromMs?: number | undefined;
  readonly toMs?: number | undefined;
}

interface TotalsOptions extends UsedWithin {
  readonly asOf?: Position | undefined;
  readonly page: PageOf;
}

interface TotalRow {
  readonly total: bigint;
  readonly simCardId?: string;
  readonly orgId: string | null;
  readonly bytes: string | null;
}

/** What totals are grouped by, and the rollups that have the same groups. */
interface Grouping {
  readonly keys: Sql;
  /** The keys as columns of the rollup `q`, the groups `t` and the page `p`. */
  readonly ofRollup: Sql;
  readonly ofGroup: Sql;
  readonly onPage: Sql;
  readonly columns: Sql;
  readonly totals: Table;
  readonly quarterHours: Table;
}

const BY_ORGANIZATION: Grouping = {
  keys: sql`org_id`,
  ofRollup: sql`q.org_id`,
  ofGroup: sql`t.org_id`,
  onPage: sql`p.org_id`,
  columns: sql`p.org_id as "orgId"`,
  totals: usage.org_totals,
  quarterHours: usage.org_quarter_hours,
};

const BY_SIM: Grouping = {
  keys: sql`sim_card_id, org_id`,
  ofRollup: sql`q.sim_card_id, q.org_id`,
  ofGroup: sql`t.sim_card_id, t.org_id`,
  onPage: sql`p.sim_card_id, p.org_id`,
  columns: sql`p.sim_card_id as "simCardId", p.org_id as "orgId"`,
  totals: usage.sim_totals,
  quarterHours: usage.sim_quarter_hours,
};

/** The usage of all organizations, or of all SIM cards, in a period. */
export class UsageTotals {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** The organizations with usage, by id; SIM cards that belong to no organization come first. */
  async ofOrganizations(
    projectId: string,
    totals: TotalsOptions,
    options: ReadOptions,
  ): Promise<Versioned<Counted<OrganizationTotal>>> {
    const { rows, total, position } = await this.#read(projectId, BY_ORGANIZATION, totals, options);
    return { value: { items: rows.map(organizationTotal), total }, position };
  }

  /** The SIM cards with usage, by id: one row for each organization that held the SIM card then. */
  async ofSims(
    projectId: string,
    totals: TotalsOptions,
    options: ReadOptions,
  ): Promise<Versioned<Counted<SimTotal>>> {
    const { rows, total, position } = await this.#read(projectId, BY_SIM, totals, options);
    const items = rows.map((row) => ({
      simCardId: row.simCardId ?? '',
      ...organizationTotal(row),
    }));
    return { value: { items, total }, position };
  }

  async #read(
    projectId: string,
    grouping: Grouping,
    { fromMs, toMs, asOf, page }: TotalsOptions,
    options: ReadOptions,
  ): Promise<{ rows: TotalRow[]; total: number; position: Position }> {
    const within = { fromMs, toMs };
    const isEver = fromMs === undefined && toMs === undefined;
    const statement =
      asOf !== undefined
        ? totalsAsOf(projectId, grouping, within, asOf, page)
        : isEver
          ? totalsEver(projectId, grouping, page)
          : totalsWithin(projectId, grouping, within, page);
    const { value, position } = await this.#models.read<TotalRow>(
      statement,
      atLeast(options, asOf),
    );
    // Beyond the last page there is one row, which has only the total.
    const rows = value.filter(({ orgId }) => orgId !== null);
    return { rows, total: Number(value[0]?.total ?? 0), position };
  }
}

function totalsEver(
  projectId: string,
  { keys, columns, onPage, totals }: Grouping,
  { limit, offset }: PageOf,
): Sql {
  return sql`
    with listed as (
      select ${keys}, bytes
      from ${totals}
      where project_id = ${projectId}
    ),
    counted as (
      select count(*) as total
      from listed
    ),
    on_page as materialized (
      select *
      from listed
      order by ${keys}
      limit ${limit}
      offset ${offset}
    )
    select counted.total, ${columns}, p.bytes
    from counted
    left join on_page p on true
    order by ${onPage}`;
}

/** Records and assignments up to a position, as the rollups know only what is true now. */
function totalsAsOf(
  projectId: string,
  { keys, columns, onPage }: Grouping,
  { fromMs, toMs }: UsedWithin,
  asOf: Position,
  { limit, offset }: PageOf,
): Sql {
  return sql`
    with listed as materialized (
      select ${keys}, sum(bytes) as bytes
      from (
        select r.sim_card_id, coalesce(holder.org_id, '') as org_id, r.bytes
        from ${usage.records} r
        left join lateral (
          ${holderAt(usage.sim_assignments, 'r', sql`r.used_at`, asOf)}
        ) holder on true
        where r.project_id = ${projectId}
          and r.position <= ${asOf}
          and r.used_at >= ${timeText(fromMs, '-infinity')}::timestamptz
          and r.used_at < ${timeText(toMs, 'infinity')}::timestamptz
      ) held
      group by ${keys}
    ),
    counted as (
      select count(*) as total
      from listed
    ),
    on_page as materialized (
      select *
      from listed
      order by ${keys}
      limit ${limit}
      offset ${offset}
    )
    select counted.total, ${columns}, p.bytes
    from counted
    left join on_page p on true
    order by ${onPage}`;
}

/**
 * Whole quarters of an hour come from the rollups, the rest of the period from the records. Only
 * the groups on the page are summed up: for all others it is enough that there is usage. The page
 * is cut out before, since a select list is also computed for the rows that an offset skips.
 */
function totalsWithin(
  projectId: string,
  { keys, columns, ofRollup, ofGroup, onPage, totals, quarterHours }: Grouping,
  within: UsedWithin,
  { limit, offset }: PageOf,
): Sql {
  const { from, first, last, to } = aroundQuarters(within);
  return sql`
    with beside as materialized (
      select ${keys}, sum(bytes) as bytes
      from (
        select r.sim_card_id, coalesce(holder.org_id, '') as org_id, r.bytes
        from ${usage.records} r
        left join lateral (
          ${holderAt(usage.sim_assignments, 'r', sql`r.used_at`)}
        ) holder on true
        where r.project_id = ${projectId}
          and (
            r.used_at >= ${from}::timestamptz and r.used_at < ${first}::timestamptz
            or r.used_at >= ${last}::timestamptz and r.used_at < ${to}::timestamptz
          )
      ) held
      group by ${keys}
    ),
    listed as materialized (
      select ${keys}
      from ${totals} t
      where t.project_id = ${projectId}
        and exists (
          select
          from ${quarterHours} q
          where q.project_id = ${projectId}
            and (${ofRollup}) = (${ofGroup})
            and q.quarter_hour >= ${first}::timestamptz
            and q.quarter_hour < ${last}::timestamptz
        )
      union
      select ${keys}
      from beside
    ),
    counted as (
      select count(*) as total
      from listed
    ),
    on_page as materialized (
      select *
      from listed
      order by ${keys}
      limit ${limit}
      offset ${offset}
    )
    select
      counted.total, ${columns},
      coalesce(whole.bytes, 0) + coalesce(beside.bytes, 0) as bytes
    from counted
    left join on_page p on true
    left join beside using (${keys})
    left join lateral (
      select sum(q.bytes) as bytes
      from ${quarterHours} q
      where q.project_id = ${projectId}
        and (${ofRollup}) = (${onPage})
        and q.quarter_hour >= ${first}::timestamptz
        and q.quarter_hour < ${last}::timestamptz
    ) whole on true
    order by ${onPage}`;
}

/**
 * The start of a period, the first and the last edge of its whole quarters of an hour, and its end.
 * Without a whole quarter, all of the period is before the first.
 */
function aroundQuarters({ fromMs, toMs }: UsedWithin): {
  readonly from: string;
  readonly first: string;
  readonly last: string;
  readonly to: string;
} {
  const firstMs =
    fromMs === undefined ? -Infinity : Math.ceil(fromMs / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
  const lastMs =
    toMs === undefined ? Infinity : Math.floor(toMs / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
  const from = timeText(fromMs, '-infinity');
  const to = timeText(toMs, 'infinity');
  if (firstMs > lastMs) return { from, first: to, last: to, to };
  return { from, first: timeText(firstMs, ''), last: timeText(lastMs, ''), to };
}

function timeText(epochMs: number | undefined, without: string): string {
  if (epochMs === undefined) return without;
  if (!Number.isFinite(epochMs)) return epochMs < 0 ? '-infinity' : 'infinity';
  return new Date(epochMs).toISOString();
}

function organizationTotal({ orgId, bytes }: TotalRow): OrganizationTotal {
  return { orgId: orgId === '' ? null : orgId, bytes: BigInt(bytes ?? 0) };
}
