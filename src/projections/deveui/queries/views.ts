import type { Position } from '../../../event-store/port.ts';

type BatchStatus = 'Processing' | 'Stopped' | 'Failed' | 'Completed';
type DevEuiStatus = 'in_flight' | 'registered' | 'conflicted' | 'unconfirmed';

/** Of DevEUIs: attempted = registered + conflicted + unconfirmed + in flight. */
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
  /** Why it failed; null while it has not. */
  readonly reason: string | null;
  readonly requestedAt: Date;
  readonly counts: BatchCounts;
}

export interface BatchView extends BatchSummary {
  /** The registered ones, in the order in which they were drawn. */
  readonly devEuis: readonly string[];
  readonly unconfirmed: readonly string[];
  /** Asked for, and it is not known yet how that ends: also when nothing is on its way just now. */
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
  /** The device of the project that carries it now. */
  readonly deviceId: string | null;
}

// The same as rows of the tables.

export interface SummaryRow {
  readonly batch_id: string;
  readonly position: bigint;
  readonly status: BatchStatus;
  readonly reason: string | null;
  readonly requested_at: Date;
  readonly size: number;
  readonly attempted: number;
  readonly registered: number;
  readonly conflicted: number;
  readonly unconfirmed: number;
}

export interface BatchRow extends SummaryRow {
  readonly registered_deveuis: readonly string[];
  readonly unconfirmed_deveuis: readonly string[];
  readonly open_deveuis: readonly string[];
}

export interface PartitionRow {
  readonly dev_eui: string;
  readonly short_code: string;
  readonly status: DevEuiStatus;
}

export interface AttemptRow {
  readonly position: bigint;
  readonly dev_eui: string;
  readonly attempt: number;
  readonly outcome: AttemptView['outcome'];
  readonly reason: string | null;
  readonly provider_status: number | null;
  readonly sent_at: Date;
  readonly ended_at: Date | null;
}

export interface DevEuiRow extends PartitionRow {
  readonly batch_id: string;
  readonly device_id: string | null;
}

export function batchSummary(row: SummaryRow): BatchSummary {
  const { size, attempted, registered, conflicted, unconfirmed } = row;
  return {
    batchId: row.batch_id,
    position: row.position as Position,
    status: row.status,
    reason: row.reason,
    requestedAt: row.requested_at,
    counts: {
      requested: size,
      attempted,
      registered,
      conflicted,
      unconfirmed,
      inFlight: attempted - registered - conflicted - unconfirmed,
    },
  };
}

export function partitionEntry(row: PartitionRow): PartitionEntry {
  return { devEui: row.dev_eui, shortCode: row.short_code, status: row.status };
}

export function attemptView(row: AttemptRow): AttemptView {
  return {
    position: row.position as Position,
    devEui: row.dev_eui,
    attempt: row.attempt,
    outcome: row.outcome,
    reason: row.reason,
    providerStatus: row.provider_status,
    sentAt: row.sent_at,
    endedAt: row.ended_at,
  };
}

export function devEuiView(row: DevEuiRow): DevEuiView {
  return { ...partitionEntry(row), batchId: row.batch_id, deviceId: row.device_id };
}
