import { sql } from '../../../database/sql.ts';
import type { Position } from '../../../event-store/port.ts';
import { holderAt } from '../projection/sim-assignments.ts';
import {
  atLeast,
  type ReadModels,
  type ReadOptions,
  type Versioned,
} from '../../engine/reading/read-models.ts';
import { tenancy } from '../tables.ts';

export interface HeldSim {
  readonly simCardId: string;
  /** Null when it was assigned to no organization. */
  readonly orgId: string | null;
  /** The time of the assignment; null for one from the beginning. */
  readonly from: Date | null;
}

interface InventoryPage {
  readonly page: number;
  readonly size: number;
  /** The time at which the SIM cards are held. */
  readonly now: Date;
  readonly asOf?: Position | undefined;
}

/** Which organization holds which SIM card. */
export class InventoryQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /**
   * The SIM cards that have been assigned by now, by id: a page of them, and how many there are.
   */
  async inventory(
    projectId: string,
    { page, size, now, asOf }: InventoryPage,
    options: ReadOptions,
  ): Promise<Versioned<{ readonly items: HeldSim[]; readonly total: number }>> {
    // Not materialized: the page stops at its end, and both read only the primary key. That takes
    // less than half the time of finding all holders at once (0.15 s and 0.37 s for 200,000 SIM
    // cards).
    const { value, position } = await this.#models.read<
      HeldSim & { total: bigint; simCardId: string | null }
    >(
      sql`
        with held as not materialized (
          select distinct project_id, sim_card_id
          from ${tenancy.sim_assignments}
          where project_id = ${projectId}
            and from_time <= ${now}
            and position <= coalesce(${asOf}, 9223372036854775807)
        )
        select counted.total, listed.*
        from (select count(*) as total from held) counted
        left join (
          select
            on_page.sim_card_id as "simCardId",
            nullif(holder.org_id, '') as "orgId",
            nullif(holder.from_time, '-infinity') as "from"
          from (
            select project_id, sim_card_id
            from held
            order by sim_card_id
            limit ${size}
            offset ${(page - 1) * size}
          ) on_page
          cross join lateral (
            ${holderAt(tenancy.sim_assignments, 'on_page', sql`${now}`, asOf)}
          ) holder
        ) listed on true
        order by "simCardId"`,
      atLeast(options, asOf),
    );
    // Beyond the last page there is one row, which has only the total.
    const items = value.flatMap(({ simCardId, orgId, from }) =>
      simCardId === null ? [] : [{ simCardId, orgId, from }],
    );
    return { value: { items, total: Number(value[0]?.total ?? 0) }, position };
  }
}
