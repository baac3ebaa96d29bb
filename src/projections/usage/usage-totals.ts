import type { Position } from '../../event-store/port.ts';
import { atLeast, type Fresh, type ReadModels, type ReadOptions } from '../engine/read-model.ts';
import { heldRecords, type Counted, type PageOf } from './usage-queries.ts';

export interface OrganizationTotal {
  /** Null: nobody. */
  readonly orgId: string | null;
  readonly bytes: number;
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
  ): Promise<Fresh<Counted<OrganizationTotal>>> {
    const { rows, total, position } = await this.#read(projectId, 'org', totals, options);
    return { value: { items: rows.map(organizationTotal), total }, position };
  }

  /** Of the SIM cards with usage, by id: a line for each organization that held it when it was used. */
  async ofSims(
    projectId: string,
    totals: TotalsOptions,
    options: ReadOptions,
  ): Promise<Fresh<Counted<SimTotal>>> {
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
    const rows = value.filter(({ bytes }) => bytes !== null);
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
    )
    ${onePage(by, 'bytes')}`,

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
    )
    ${onePage(by, 'bytes')}`,

  /**
   * $4 from, $5 the first whole quarter, $6 the end of the last, $7 to. Sums are made of those on the page alone:
   * of the others it is enough to know that there is usage.
   */
  within: (by) => `
    with beside as materialized (
      select ${KEYS[by].join(', ')}, sum(bytes) as bytes
      from (
        ${heldRecords('null::bigint')}
          and (
            r.used_at >= $4::timestamptz /* from */ and r.used_at < $5::timestamptz /* first quarter */
            or r.used_at >= $6::timestamptz /* last quarter */ and r.used_at < $7::timestamptz /* to */
          )
      ) held
      group by ${KEYS[by].join(', ')}
    ),
    listed as materialized (
      select ${KEYS[by].join(', ')}
      from read_usage.${by}_totals t
      where t.project_id = $1 /* project */
        and (
          exists (select from (${quartersOf(by, 't')}) q)
          or exists (select from beside b where ${sameKeys(by, 'b', 't')})
        )
    )
    ${onePage(
      by,
      `coalesce((select sum(q.bytes) from (${quartersOf(by, 'listed')}) q), 0)
       + coalesce((select b.bytes from beside b where ${sameKeys(by, 'b', 'listed')}), 0)`,
    )}`,
};

function quartersOf(by: Grouping, of: string): string {
  return `
    select q.bytes
    from read_usage.${by}_quarters q
    where q.project_id = $1 /* project */
      and ${sameKeys(by, 'q', of)}
      and q.quarter >= $5::timestamptz /* first quarter */
      and q.quarter < $6::timestamptz /* last quarter */`;
}

function sameKeys(by: Grouping, a: string, b: string): string {
  return KEYS[by].map((key) => `${a}.${key} = ${b}.${key}`).join(' and ');
}

function onePage(by: Grouping, bytes: string): string {
  return `
    select counted.total, on_page.*
    from (select count(*) as total from listed) counted
    left join (
      select ${KEYS[by].join(', ')}, ${bytes} as bytes
      from listed
      order by ${KEYS[by].join(', ')}
      limit $2 /* limit */
      offset $3 /* offset */
    ) on_page on true`;
}

const QUARTER_MS = 15 * 60_000;

/** From, the whole quarters in it, and to; where there are none, all of it is before them. */
function aroundQuarters(fromMs: number | undefined, toMs: number | undefined): string[] {
  const first = fromMs === undefined ? -Infinity : Math.ceil(fromMs / QUARTER_MS) * QUARTER_MS;
  const last = toMs === undefined ? Infinity : Math.floor(toMs / QUARTER_MS) * QUARTER_MS;
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
  return { orgId: orgId === '' ? null : orgId, bytes: Number(bytes) };
}
