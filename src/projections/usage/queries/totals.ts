import type { Position } from '../../../event-store/port.ts';
import {
  atLeast,
  type Versioned,
  type ReadModels,
  type ReadOptions,
} from '../../engine/reading/read-models.ts';
import { QUARTER_HOUR_MS } from '../projection/rollups.ts';
import { heldRecords, type Counted, type PageOf } from '../queries.ts';

export interface OrganizationTotal {
  /** Null: nobody. */
  readonly orgId: string | null;
  readonly bytes: bigint;
}

export interface SimTotal extends OrganizationTotal {
  readonly simCardId: string;
}

/** From a time on, and before another; without one of them, since ever or for ever. Epoch milliseconds. */
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
  readonly sim_card_id?: string;
  readonly org_id: string | null;
  readonly bytes: string | null;
}

/** What all organizations, or all SIM cards, used in a time. */
export class UsageTotals {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** Of the organizations with usage, by id, nobody first. */
  async ofOrganizations(
    projectId: string,
    totals: TotalsOptions,
    options: ReadOptions,
  ): Promise<Versioned<Counted<OrganizationTotal>>> {
    const { rows, total, position } = await this.#read(projectId, 'org', totals, options);
    return { value: { items: rows.map(organizationTotal), total }, position };
  }

  /** Of the SIM cards with usage, by id: a line for each organization that held it when it was used. */
  async ofSims(
    projectId: string,
    totals: TotalsOptions,
    options: ReadOptions,
  ): Promise<Versioned<Counted<SimTotal>>> {
    const { rows, total, position } = await this.#read(projectId, 'sim', totals, options);
    const items = rows.map((row) => ({
      simCardId: row.sim_card_id ?? '',
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
    const isEver = fromMs === undefined && toMs === undefined;
    const kind = asOf !== undefined ? 'asOf' : isEver ? 'ever' : 'within';
    const times =
      kind === 'asOf'
        ? [timeText(fromMs, '-infinity'), timeText(toMs, 'infinity'), asOf]
        : kind === 'within'
          ? aroundQuarters(fromMs, toMs)
          : [];
    const { value, position } = await this.#models.read<TotalRow>(
      'usage',
      {
        name: `usage-totals-by-${grouping}-${kind}`,
        text: TOTALS[kind](grouping),
        values: [projectId, page.limit, page.offset, ...times],
        orderBy: KEYS[grouping].join(', '),
      },
      atLeast(options, asOf),
    );
    // Beyond the last page there is one row, with the total alone.
    const rows = value.filter(({ org_id: orgId }) => orgId !== null);
    return { rows, total: Number(value[0]?.total ?? 0), position };
  }
}

type Grouping = 'org' | 'sim';

const KEYS: Readonly<Record<Grouping, readonly string[]>> = {
  org: ['org_id'],
  sim: ['sim_card_id', 'org_id'],
};

/** $1 project, $2 limit, $3 offset, and what else each says. */
const TOTALS: Readonly<Record<'ever' | 'within' | 'asOf', (by: Grouping) => string>> = {
  ever: (by) => `
    with listed as (
      select ${KEYS[by].join(', ')}, bytes
      from read_usage.${by}_totals
      where project_id = $1 /* project */
    ),
    ${onePage(by)}
    select counted.total, on_page.*
    from counted
    left join on_page on true`,

  /** $4 from, $5 to, $6 as of. */
  asOf: (by) => `
    with listed as materialized (
      select ${KEYS[by].join(', ')}, sum(bytes) as bytes
      from (
        ${heldRecords('$6::bigint')}
          and r.used_at >= $4::timestamptz /* from */
          and r.used_at < $5::timestamptz /* to */
      ) held
      group by ${KEYS[by].join(', ')}
    ),
    ${onePage(by)}
    select counted.total, on_page.*
    from counted
    left join on_page on true`,

  /**
   * $4 from, $5 the first whole quarter of an hour, $6 the end of the last, $7 to. What is beside these comes from
   * the records. Only what is on the page is added up: of the others it is enough that there is usage.
   */
  within: (by) => `
    with beside as materialized (
      select ${KEYS[by].join(', ')}, sum(bytes) as bytes
      from (
        ${heldRecords('null::bigint')}
          and (
            r.used_at >= $4::timestamptz /* from */ and r.used_at < $5::timestamptz /* first */
            or r.used_at >= $6::timestamptz /* last */ and r.used_at < $7::timestamptz /* to */
          )
      ) held
      group by ${KEYS[by].join(', ')}
    ),
    listed as materialized (
      select ${KEYS[by].join(', ')}
      from read_usage.${by}_totals t
      where t.project_id = $1 /* project */
        and exists (${quarterHoursOf(by, 't', 'q.bytes')})
      union
      select ${KEYS[by].join(', ')}
      from beside
    ),
    ${onePage(by)}
    select
      counted.total, on_page.*,
      coalesce(whole.bytes, 0) + coalesce(beside.bytes, 0) as bytes
    from counted
    left join on_page on true
    left join beside using (${KEYS[by].join(', ')})
    left join lateral (${quarterHoursOf(by, 'on_page', 'sum(q.bytes) as bytes')}) whole on true`,
};

/** Cut out before anything is computed for it: a select list is computed for the rows that an offset skips, too. */
function onePage(by: Grouping): string {
  return `
    counted as (
      select count(*) as total
      from listed
    ),
    on_page as materialized (
      select *
      from listed
      order by ${KEYS[by].join(', ')}
      limit $2 /* limit */
      offset $3 /* offset */
    )`;
}

function quarterHoursOf(by: Grouping, of: string, what: string): string {
  return `
      select ${what}
      from read_usage.${by}_quarter_hours q
      where q.project_id = $1 /* project */
        and ${KEYS[by].map((key) => `q.${key} = ${of}.${key}`).join(' and ')}
        and q.quarter_hour >= $5::timestamptz /* first */
        and q.quarter_hour < $6::timestamptz /* last */`;
}

/** From, the whole quarters of an hour in it, and to; where there are none, all of it is before them. */
function aroundQuarters(fromMs: number | undefined, toMs: number | undefined): string[] {
  const first =
    fromMs === undefined ? -Infinity : Math.ceil(fromMs / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
  const last = toMs === undefined ? Infinity : Math.floor(toMs / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
  const to = timeText(toMs, 'infinity');
  return first <= last
    ? [timeText(fromMs, '-infinity'), timeText(first, ''), timeText(last, ''), to]
    : [timeText(fromMs, '-infinity'), to, to, to];
}

function timeText(epochMs: number | undefined, without: string): string {
  if (epochMs === undefined) return without;
  if (!Number.isFinite(epochMs)) return epochMs < 0 ? '-infinity' : 'infinity';
  return new Date(epochMs).toISOString();
}

function organizationTotal({ org_id: orgId, bytes }: TotalRow): OrganizationTotal {
  return { orgId: orgId === '' ? null : orgId, bytes: BigInt(bytes ?? 0) };
}
