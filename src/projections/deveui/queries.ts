import { sql, type Sql } from '../../database/sql.ts';
import type { Position } from '../../event-store/port.ts';
import {
  atLeast,
  type ReadModels,
  type ReadOptions,
  type Versioned,
} from '../engine/reading/read-models.ts';
import { tenancy } from '../tenancy/tables.ts';
import { batchesAt, devEuisAt } from './queries/as-of.ts';
import { deveui } from './tables.ts';

type BatchStatus = 'Processing' | 'Stopped' | 'Failed' | 'Completed';
type DevEuiStatus = 'in_flight' | 'registered' | 'conflicted' | 'unconfirmed';

/** Numbers of DevEUIs: attempted = registered + conflicted + unconfirmed + in flight. */
export interface BatchCounts {
  readonly requested: number;
  readonly attempted: number;
  readonly registered: number;
  readonly conflicted: number;
  readonly unconfirmed: number;
  readonly inFlight: number;
}

export interface BatchSummary {
  readonly batchId: string;
  readonly position: Position;
  readonly status: BatchStatus;
  /** Why it failed, else null. */
  readonly reason: string | null;
  readonly requestedAt: Date;
  readonly counts: BatchCounts;
}

export interface BatchView extends BatchSummary {
  /** The registered DevEUIs, in the order in which they were drawn. */
  readonly devEuis: readonly string[];
  readonly unconfirmed: readonly string[];
  /** Sent without a known outcome yet, also when no request is under way at the moment. */
  readonly inFlight: readonly string[];
}

export interface PartitionEntry {
  readonly devEui: string;
  readonly shortCode: string;
  readonly status: DevEuiStatus;
}

export interface AttemptView {
  readonly position: Position;
  readonly devEui: string;
  readonly attempt: number;
  readonly outcome: DevEuiStatus | 'failed';
  readonly reason: string | null;
  readonly providerStatus: number | null;
  readonly sentAt: Date;
  readonly endedAt: Date | null;
}

export interface DevEuiView extends PartitionEntry {
  readonly batchId: string;
  /** The device of the project that is linked to it, if one is. */
  readonly deviceId: string | null;
}

/** The last DevEUI of a page: the same one may be in several batches. */
interface DevEuiPlace {
  readonly devEui: string;
  readonly batchId: string;
}

export const DEVEUIS_PER_PARTITION = 1_000;

/** A row of a batch that may have none: it then consists of nulls. */
type RowOrNone<Row> = Row | { readonly [Column in keyof Row]: null };

/** The columns of a batch `b`. */
const SUMMARY = sql`
  b.batch_id as "batchId",
  b.position,
  b.status,
  b.reason,
  b.requested_at as "requestedAt",
  json_build_object(
    'requested', b.size,
    'attempted', b.attempted,
    'registered', b.registered,
    'conflicted', b.conflicted,
    'unconfirmed', b.unconfirmed,
    'inFlight', b.attempted - b.registered - b.conflicted - b.unconfirmed
  ) as counts`;

/** The columns of a DevEUI `d`. */
function devEuiColumns(asOf: Position | undefined): Sql {
  return sql`
    d.dev_eui as "devEui",
    d.short_code as "shortCode",
    d.status,
    d.batch_id as "batchId",
    (
      select min(v.device_id)
      from ${tenancy.devices} v
      where v.project_id = d.project_id
        and v.dev_eui = d.dev_eui
        and v.from_position <= coalesce(${asOf}, 9223372036854775807)
        and (v.to_position is null or v.to_position > coalesce(${asOf}, 9223372036854775807))
        and v.retired_at is null
    ) as "deviceId"`;
}

/** The DevEUIs of a batch `b` that have one status, in the order in which they were drawn. */
function devEuisWith(status: DevEuiStatus, asOf: Position | undefined): Sql {
  return sql`
    array(
      select d.dev_eui
      from ${devEuisAt(asOf)} d
      where d.project_id = b.project_id
        and d.batch_id = b.batch_id
        and d.status = ${status}
      order by d.candidate
    )`;
}

/**
 * A hidden batch is not found. Its DevEUIs still are when they are asked for directly, since each
 * registered one was paid for.
 */
export class DevEuiQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  async batch(
    projectId: string,
    batchId: string,
    options: ReadOptions,
    asOf?: Position,
  ): Promise<Versioned<BatchView | undefined>> {
    const { value, position } = await this.#models.read<BatchView>(
      sql`
        select
          ${SUMMARY},
          ${devEuisWith('registered', asOf)} as "devEuis",
          ${devEuisWith('unconfirmed', asOf)} as unconfirmed,
          ${devEuisWith('in_flight', asOf)} as "inFlight"
        from ${batchesAt(asOf)} b
        where b.project_id = ${projectId}
          and b.batch_id = ${batchId}
          and not b.is_hidden`,
      atLeast(options, asOf),
    );
    return { value: value[0], position };
  }

  /** A batch without its DevEUIs, which may be many: for whoever reads it often. */
  async summary(
    projectId: string,
    batchId: string,
    options: ReadOptions,
    asOf?: Position,
  ): Promise<Versioned<BatchSummary | undefined>> {
    const { value, position } = await this.#models.read<BatchSummary>(
      sql`
        select ${SUMMARY}
        from ${batchesAt(asOf)} b
        where b.project_id = ${projectId}
          and b.batch_id = ${batchId}
          and not b.is_hidden`,
      atLeast(options, asOf),
    );
    return { value: value[0], position };
  }

  /**
   * How many batches of the project are being worked on, as far as the tables know; at most
   * `limit`.
   */
  async openBatches(projectId: string, limit: number): Promise<number> {
    const { value } = await this.#models.readAsIs(sql`
      select
      from ${deveui.batches}
      where project_id = ${projectId}
        and status = 'Processing'
      limit ${limit}`);
    return value.length;
  }

  /** Newest first, before a position if one is given. */
  async batches(
    projectId: string,
    page: {
      readonly before?: Position;
      readonly limit: number;
      readonly asOf?: Position | undefined;
    },
    options: ReadOptions,
  ): Promise<Versioned<BatchSummary[]>> {
    const { before, limit, asOf } = page;
    return this.#models.read<BatchSummary>(
      sql`
        select ${SUMMARY}
        from ${batchesAt(asOf)} b
        where b.project_id = ${projectId}
          and b.position < coalesce(${before}, 9223372036854775807)
          and not b.is_hidden
        order by b.position desc
        limit ${limit}`,
      atLeast(options, asOf),
    );
  }

  /** How many DevEUIs each partition holds; there is always a first one, which may be empty. */
  async partitions(
    projectId: string,
    batchId: string,
    options: ReadOptions,
    asOf?: Position,
  ): Promise<Versioned<number[] | undefined>> {
    const { value, position } = await this.summary(projectId, batchId, options, asOf);
    return { value: value && partitionSizes(value.counts), position };
  }

  /**
   * A part of the DevEUIs of a batch but the conflicted ones, in the order in which they were
   * drawn.
   * @param number from 1; undefined is returned when there is no such partition or batch.
   */
  async partition(
    projectId: string,
    batchId: string,
    number: number,
    options: ReadOptions,
    asOf?: Position,
  ): Promise<Versioned<PartitionEntry[] | undefined>> {
    const { value, position } = await this.#models.read<RowOrNone<PartitionEntry>>(
      sql`
        select d.dev_eui as "devEui", d.short_code as "shortCode", d.status
        from ${batchesAt(asOf)} b
        left join lateral (
          select *
          from ${devEuisAt(asOf)} drawn
          where project_id = b.project_id
            and batch_id = b.batch_id
            and status <> 'conflicted'
          order by candidate
          offset ${(number - 1) * DEVEUIS_PER_PARTITION}
          limit ${DEVEUIS_PER_PARTITION}
        ) d on true
        where b.project_id = ${projectId}
          and b.batch_id = ${batchId}
          and not b.is_hidden
        order by d.candidate`,
      atLeast(options, asOf),
    );
    const entries = value.filter(isPresent);
    const isThere = entries.length > 0 || (value.length > 0 && number === 1);
    return { value: isThere ? entries : undefined, position };
  }

  /** Every attempt, oldest first, after a position if one is given. */
  async attempts(
    projectId: string,
    batchId: string,
    page: {
      readonly after?: Position;
      readonly limit: number;
      readonly asOf?: Position | undefined;
    },
    options: ReadOptions,
  ): Promise<Versioned<AttemptView[] | undefined>> {
    const { after, limit, asOf } = page;
    const { value, position } = await this.#models.read<RowOrNone<AttemptView>>(
      sql`
        select
          a.position,
          a.dev_eui as "devEui",
          a.attempt,
          case when a.attempt is not null then coalesce(e.outcome, 'in_flight') end as outcome,
          e.reason,
          e.provider_status as "providerStatus",
          a.sent_at as "sentAt",
          e.ended_at as "endedAt"
        from ${batchesAt(asOf)} b
        left join lateral (
          select *
          from ${deveui.attempts}
          where project_id = b.project_id
            and batch_id = b.batch_id
            and position > ${after ?? 0n}
            and position <= coalesce(${asOf}, 9223372036854775807)
          order by position
          limit ${limit}
        ) a on true
        left join lateral (
          select *
          from ${deveui.attempt_ends} ends
          where ends.project_id = a.project_id
            and ends.batch_id = a.batch_id
            and ends.dev_eui = a.dev_eui
            and ends.attempt = a.attempt
            and ends.position <= coalesce(${asOf}, 9223372036854775807)
          order by ends.position desc
          limit 1
        ) e on true
        where b.project_id = ${projectId}
          and b.batch_id = ${batchId}
          and not b.is_hidden
        order by a.position`,
      atLeast(options, asOf),
    );
    return { value: value.length === 0 ? undefined : value.filter(isPresent), position };
  }

  /** A DevEUI with its status in the batch where it got furthest. */
  async devEui(
    projectId: string,
    devEui: string,
    options: ReadOptions,
    asOf?: Position,
  ): Promise<Versioned<DevEuiView | undefined>> {
    const { value, position } = await this.#models.read<DevEuiView>(
      sql`
        select ${devEuiColumns(asOf)}
        from ${devEuisAt(asOf)} d
        where d.project_id = ${projectId}
          and d.dev_eui = ${devEui}
        order by
          array_position(array['registered', 'unconfirmed', 'in_flight', 'conflicted'], d.status),
          d.batch_id
        limit 1`,
      atLeast(options, asOf),
    );
    return { value: value[0], position };
  }

  /** The DevEUIs of a project, in each of their batches; all, or those with a short code. */
  async devEuis(
    projectId: string,
    page: {
      readonly shortCode?: string;
      readonly after?: DevEuiPlace;
      readonly limit: number;
      readonly asOf?: Position | undefined;
    },
    options: ReadOptions,
  ): Promise<Versioned<DevEuiView[]>> {
    const { shortCode, after, limit, asOf } = page;
    // Two statements, so that each has the plan for its own index.
    const filter = shortCode === undefined ? sql`` : sql`and d.short_code = ${shortCode}`;
    return this.#models.read<DevEuiView>(
      sql`
        select ${devEuiColumns(asOf)}
        from ${devEuisAt(asOf)} d
        where d.project_id = ${projectId}
          and (d.dev_eui, d.batch_id) > (${after?.devEui ?? ''}, ${after?.batchId ?? ''})
          ${filter}
        order by d.dev_eui, d.batch_id
        limit ${limit}`,
      atLeast(options, asOf),
    );
  }
}

function isPresent<Row extends { readonly devEui: string }>(row: RowOrNone<Row>): row is Row {
  return row.devEui !== null;
}

function partitionSizes({ attempted, conflicted }: BatchCounts): number[] {
  const devEuis = attempted - conflicted;
  const partitions = Math.max(1, Math.ceil(devEuis / DEVEUIS_PER_PARTITION));
  return Array.from({ length: partitions }, (_, index) =>
    Math.min(DEVEUIS_PER_PARTITION, devEuis - index * DEVEUIS_PER_PARTITION),
  );
}
