import type { Position } from '../../event-store/port.ts';
import type { Versioned, ReadModels, ReadOptions } from '../engine/reading/read-models.ts';
import {
  attemptView,
  batchSummary,
  devEuiView,
  partitionEntry,
  type AttemptRow,
  type AttemptView,
  type BatchCounts,
  type BatchRow,
  type BatchSummary,
  type BatchView,
  type DevEuiRow,
  type DevEuiView,
  type PartitionEntry,
  type PartitionRow,
  type SummaryRow,
} from './queries/views.ts';

/** Where a list of DevEUIs goes on: one may be in several batches. */
interface DevEuiPlace {
  readonly devEui: string;
  readonly batchId: string;
}

export const DEVEUIS_PER_PARTITION = 1_000;

/** Of a batch that has none: one row, of nulls. */
type RowOrNone<Row> = Row | { readonly [Column in keyof Row]: null };

const SUMMARY_COLUMNS = `
  b.batch_id, b.position, b.status, b.reason, b.requested_at,
  b.size, b.attempted, b.registered, b.conflicted, b.unconfirmed`;

const DEVEUI_COLUMNS = `
  d.dev_eui, d.short_code, d.batch_id, d.status,
  (
    select min(v.device_id)
    from read_tenancy.devices v
    where v.project_id = d.project_id
      and v.dev_eui = d.dev_eui
      and v.to_position is null
      and v.retired_at is null
  ) as device_id`;

/** Those of the batch `b` that are in one situation, in the order in which they were drawn. */
function devEuisOf(status: 'registered' | 'unconfirmed' | 'in_flight'): string {
  return `
    array(
      select d.dev_eui
      from read_deveui.deveuis d
      where d.project_id = b.project_id
        and d.batch_id = b.batch_id
        and d.status = '${status}'
      order by d.candidate
    )`;
}

/**
 * A batch that is hidden is as if it were not there. Its DevEUIs are still found by themselves: what is
 * registered was paid for.
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
  ): Promise<Versioned<BatchView | undefined>> {
    const { value, position } = await this.#models.read<BatchRow>(
      'deveui',
      {
        name: 'batch',
        text: `
          select
            ${SUMMARY_COLUMNS},
            ${devEuisOf('registered')} as registered_deveuis,
            ${devEuisOf('unconfirmed')} as unconfirmed_deveuis,
            ${devEuisOf('in_flight')} as open_deveuis
          from read_deveui.batches b
          where b.project_id = $1 /* project */
            and b.batch_id = $2 /* batch */
            and not b.is_hidden`,
        values: [projectId, batchId],
      },
      options,
    );
    const [row] = value;
    const view = row && {
      ...batchSummary(row),
      devEuis: row.registered_deveuis,
      unconfirmed: row.unconfirmed_deveuis,
      inFlight: row.open_deveuis,
    };
    return { value: view, position };
  }

  /** A batch without its DevEUIs, which may be many: to look at often. */
  async summary(
    projectId: string,
    batchId: string,
    options: ReadOptions,
  ): Promise<Versioned<BatchSummary | undefined>> {
    const { value, position } = await this.#models.read<SummaryRow>(
      'deveui',
      {
        name: 'batch-summary',
        text: `
          select ${SUMMARY_COLUMNS}
          from read_deveui.batches b
          where b.project_id = $1 /* project */
            and b.batch_id = $2 /* batch */
            and not b.is_hidden`,
        values: [projectId, batchId],
      },
      options,
    );
    const [row] = value;
    return { value: row && batchSummary(row), position };
  }

  /** How many batches of the project are being worked on, as far as the tables know; at most `limit`. */
  async openBatches(projectId: string, limit: number): Promise<number> {
    const { value } = await this.#models.readAsIs<{ open: bigint }>('deveui', {
      name: 'open-batches',
      text: `
        select count(*) as open
        from (
          select
          from read_deveui.batches
          where project_id = $1 /* project */
            and status = 'Processing'
          limit $2 /* limit */
        ) found`,
      values: [projectId, limit],
    });
    return Number(value[0]?.open ?? 0);
  }

  /** Newest first, before a position if one is given. */
  async batches(
    projectId: string,
    { before, limit }: { readonly before?: Position; readonly limit: number },
    options: ReadOptions,
  ): Promise<Versioned<BatchSummary[]>> {
    const { value, position } = await this.#models.read<SummaryRow>(
      'deveui',
      {
        name: 'batches',
        text: `
          select ${SUMMARY_COLUMNS}
          from read_deveui.batches b
          where b.project_id = $1 /* project */
            and b.position < coalesce($2, 9223372036854775807) /* before */
            and not b.is_hidden
          order by b.position desc
          limit $3 /* limit */`,
        values: [projectId, before ?? null, limit],
        orderBy: 'found.position desc',
      },
      options,
    );
    return { value: value.map(batchSummary), position };
  }

  /** How many DevEUIs each partition holds: the first always is, be it empty. */
  async partitions(
    projectId: string,
    batchId: string,
    options: ReadOptions,
  ): Promise<Versioned<number[] | undefined>> {
    const { value, position } = await this.summary(projectId, batchId, options);
    return { value: value && partitionSizes(value.counts), position };
  }

  /**
   * One slice of the DevEUIs that are not somebody else's, in the order in which they were drawn;
   * `number` from 1. Undefined where there is no such partition, or no such batch.
   */
  async partition(
    projectId: string,
    batchId: string,
    number: number,
    options: ReadOptions,
  ): Promise<Versioned<PartitionEntry[] | undefined>> {
    const { value, position } = await this.#models.read<RowOrNone<PartitionRow>>(
      'deveui',
      {
        name: 'batch-partition',
        text: `
          select d.dev_eui, d.short_code, d.status, d.candidate
          from read_deveui.batches b
          left join lateral (
            select *
            from read_deveui.deveuis
            where project_id = b.project_id
              and batch_id = b.batch_id
              and status <> 'conflicted'
            order by candidate
            offset $3 /* skipped */
            limit $4 /* limit */
          ) d on true
          where b.project_id = $1 /* project */
            and b.batch_id = $2 /* batch */
            and not b.is_hidden`,
        values: [projectId, batchId, (number - 1) * DEVEUIS_PER_PARTITION, DEVEUIS_PER_PARTITION],
        orderBy: 'candidate',
      },
      options,
    );
    const entries = value.filter(isPresent).map(partitionEntry);
    const isThere = entries.length > 0 || (value.length > 0 && number === 1);
    return { value: isThere ? entries : undefined, position };
  }

  /** Every attempt, oldest first, after a position if one is given. */
  async attempts(
    projectId: string,
    batchId: string,
    { after, limit }: { readonly after?: Position; readonly limit: number },
    options: ReadOptions,
  ): Promise<Versioned<AttemptView[] | undefined>> {
    const { value, position } = await this.#models.read<RowOrNone<AttemptRow>>(
      'deveui',
      {
        name: 'batch-attempts',
        text: `
          select
            a.position, a.dev_eui, a.attempt, a.outcome, a.reason, a.provider_status,
            a.sent_at, a.ended_at
          from read_deveui.batches b
          left join lateral (
            select *
            from read_deveui.attempts
            where project_id = b.project_id
              and batch_id = b.batch_id
              and position > $3 /* after */
            order by position
            limit $4 /* limit */
          ) a on true
          where b.project_id = $1 /* project */
            and b.batch_id = $2 /* batch */
            and not b.is_hidden`,
        values: [projectId, batchId, after ?? 0n, limit],
        orderBy: 'found.position',
      },
      options,
    );
    const views = value.filter(isPresent).map(attemptView);
    return { value: value.length === 0 ? undefined : views, position };
  }

  /** One DevEUI, in the batch where it got furthest. */
  async devEui(
    projectId: string,
    devEui: string,
    options: ReadOptions,
  ): Promise<Versioned<DevEuiView | undefined>> {
    const { value, position } = await this.#models.read<DevEuiRow>(
      'deveui',
      {
        name: 'deveui',
        joins: ['tenancy'],
        text: `
          select ${DEVEUI_COLUMNS}
          from read_deveui.deveuis d
          where d.project_id = $1 /* project */
            and d.dev_eui = $2 /* DevEUI */
          order by
            array_position(
              array['registered', 'unconfirmed', 'in_flight', 'conflicted'], d.status
            ),
            d.batch_id
          limit 1`,
        values: [projectId, devEui],
      },
      options,
    );
    const [row] = value;
    return { value: row && devEuiView(row), position };
  }

  /** The DevEUIs of a project, in each of their batches; all, or those with a short code. */
  async devEuis(
    projectId: string,
    page: { readonly shortCode?: string; readonly after?: DevEuiPlace; readonly limit: number },
    options: ReadOptions,
  ): Promise<Versioned<DevEuiView[]>> {
    const { shortCode, after, limit } = page;
    // Two statements, so that each has the plan of its own index.
    const isByShortCode = shortCode !== undefined;
    const { value, position } = await this.#models.read<DevEuiRow>(
      'deveui',
      {
        name: isByShortCode ? 'deveuis-by-short-code' : 'deveuis',
        joins: ['tenancy'],
        text: `
          select ${DEVEUI_COLUMNS}
          from read_deveui.deveuis d
          where d.project_id = $1 /* project */
            and (d.dev_eui, d.batch_id) > ($2, $3) /* after */
            ${isByShortCode ? 'and d.short_code = $5 /* short code */' : ''}
          order by d.dev_eui, d.batch_id
          limit $4 /* limit */`,
        values: [
          projectId,
          after?.devEui ?? '',
          after?.batchId ?? '',
          limit,
          ...(isByShortCode ? [shortCode] : []),
        ],
        orderBy: 'dev_eui, batch_id',
      },
      options,
    );
    return { value: value.map(devEuiView), position };
  }
}

function isPresent<Row extends { readonly dev_eui: string }>(row: RowOrNone<Row>): row is Row {
  return row.dev_eui !== null;
}

function partitionSizes({ attempted, conflicted }: BatchCounts): number[] {
  const devEuis = attempted - conflicted;
  const partitions = Math.max(1, Math.ceil(devEuis / DEVEUIS_PER_PARTITION));
  return Array.from({ length: partitions }, (_, index) =>
    Math.min(DEVEUIS_PER_PARTITION, devEuis - index * DEVEUIS_PER_PARTITION),
  );
}
