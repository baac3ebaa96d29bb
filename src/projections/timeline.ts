import type { Sql } from '../database/sql.ts';
import type { Position } from '../event-store/port.ts';

/** Which entries of the timeline of a device are wanted. */
export interface TimelineQuery {
  readonly projectId: string;
  readonly deviceId: string;
  /** Entries have a lower position. */
  readonly below: bigint;
  readonly asOf: Position | undefined;
  readonly limit: number;
}

/**
 * What a domain adds to the timeline of a device: a query for its newest entries up to the position
 * of the answer, with the columns `position`, `event_id`, `type`, `occurred_at`, `recorded_at`,
 * `actor` and `data`. It may join `spans`, which has what the device was linked to (`dev_eui`,
 * `sensor_id`, `sim_card_id`) from a position to another.
 */
export type TimelinePart = (query: TimelineQuery) => Sql;

/** The parts by the names of their domains. */
export type TimelineParts = Readonly<Record<string, TimelinePart>>;
