import { holderAt } from '../projection/sim-assignments.ts';
import type { Versioned, ReadModels, ReadOptions } from '../../engine/reading/read-models.ts';

export interface HeldSim {
  readonly simCardId: string;
  /** Null: none, by an assignment that says so. */
  readonly orgId: string | null;
  /** Since when; null: from the beginning. */
  readonly from: Date | null;
}

/** Which organization holds which SIM card. */
export class InventoryQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** The SIMs that have been assigned by now, by id: one page of them, and how many there are. */
  async inventory(
    projectId: string,
    { page, size, now }: { readonly page: number; readonly size: number; readonly now: Date },
    options: ReadOptions,
  ): Promise<Versioned<{ readonly items: HeldSim[]; readonly total: number }>> {
    const { value, position } = await this.#models.read<{
      total: bigint;
      sim_card_id: string | null;
      org_id: string | null;
      from_time: Date | null;
    }>(
      'tenancy',
      {
        name: 'inventory',
        // Not materialized: the page stops at its end, and both read the primary key alone. That is
        // less than half of what picking all holders at once took (200,000 SIMs: 0.15 s, not 0.37).
        text: `
          with held as not materialized (
            select distinct project_id, sim_card_id
            from read_tenancy.sim_assignments
            where project_id = $1 /* project */
              and from_time <= $2 /* now */
          )
          select counted.total, listed.sim_card_id, listed.org_id, listed.from_time
          from (select count(*) as total from held) counted
          left join (
            select
              on_page.sim_card_id, holder.org_id,
              case when isfinite(holder.from_time) then holder.from_time end as from_time
            from (
              select project_id, sim_card_id
              from held
              order by sim_card_id
              limit $4::bigint /* size */
              offset ($3::bigint - 1) * $4::bigint /* page, size */
            ) on_page
            cross join lateral (
              ${holderAt('on_page', '$2 /* now */', { schema: 'read_tenancy.' })}
            ) holder
          ) listed on true`,
        values: [projectId, now, page, size],
        orderBy: 'sim_card_id',
      },
      options,
    );
    // Beyond the last page there is one row, with the total alone.
    const items = value.flatMap(({ sim_card_id: simCardId, org_id: orgId, from_time: from }) =>
      simCardId === null ? [] : [{ simCardId, orgId: orgId === '' ? null : orgId, from }],
    );
    return { value: { items, total: Number(value[0]?.total ?? 0) }, position };
  }
}
