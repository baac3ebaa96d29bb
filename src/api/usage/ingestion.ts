import type { ItemOutcome, ItemPart } from '../../commands/core/stored-results.ts';
import type { ParsedRecord } from '../../commands/usage/record.ts';
import type { RecordedUsage, UsageCommands, UsageEntry } from '../../commands/usage/commands.ts';
import type { Position } from '../../event-store/port.ts';
import { isTransient, LedgerError } from '../../shared/errors.ts';
import type { JsonObject } from '../../shared/json.ts';
import { newestOf } from '../item-results.ts';
import type { ApiRequest } from '../route.ts';

/** A record as it was read, and as it came. */
export type SentRecord = ParsedRecord & { readonly sent: () => Buffer };

/** What became of a record: `recorded`, `duplicate`, or why it was rejected. */
type RecordResult = 'recorded' | 'duplicate' | { readonly reason: string; readonly detail: string };

/** The records of one request, in their order. */
export class Ingestion {
  accepted = 0;
  duplicates = 0;
  newest: Position | undefined;
  /** The store became unavailable before all were recorded: no later record is begun. */
  isBrokenOff = false;
  readonly #commands: UsageCommands;
  readonly #request: ApiRequest<unknown, unknown, unknown>;
  #index = 0;

  constructor(commands: UsageCommands, request: ApiRequest<unknown, unknown, unknown>) {
    this.#commands = commands;
    this.#request = request;
  }

  /**
   * Takes the next records, and gives those that are rejected, by their places in the body. If the
   * store is unavailable before any record is accepted, the request fails. Later it does not, as
   * the client would send again what was recorded: the rest is rejected.
   * @throws LedgerError as `UsageCommands.record`; `idempotency-key-reused`
   */
  async take(
    records: readonly SentRecord[],
    { digest }: Pick<ItemPart, 'digest'> = {},
  ): Promise<JsonObject[]> {
    const first = this.#index;
    this.#index += records.length;
    if (this.isBrokenOff) return rejectedAll(records, first, NOT_RECORDED);
    let isBegun = false;
    try {
      const part = { count: records.length, ...(digest !== undefined && { digest }) };
      const outcomes = await this.#request.results.next(part, (places) => {
        isBegun = true;
        return this.#record(records, places, first);
      });
      return this.#tally(outcomes, first);
    } catch (error) {
      if (!isTransient(error) || this.accepted === 0) throw error;
      this.isBrokenOff = true;
      return rejectedAll(records, first, isBegun ? MAY_BE_RECORDED : NOT_RECORDED);
    }
  }

  #tally(outcomes: readonly ItemOutcome[], first: number): JsonObject[] {
    const rejected: JsonObject[] = [];
    for (const [place, outcome] of outcomes.entries()) {
      const result = outcome.result as RecordResult;
      if (result === 'recorded') this.accepted += 1;
      else if (result === 'duplicate') this.duplicates += 1;
      else rejected.push({ index: first + place, ...result });
    }
    const positions = outcomes.flatMap(({ position }) =>
      position === undefined ? [] : [position],
    );
    this.newest = newestOf(this.newest === undefined ? positions : [this.newest, ...positions]);
    return rejected;
  }

  /** Records those at some places of a part. */
  async #record(
    records: readonly SentRecord[],
    places: readonly number[],
    first: number,
  ): Promise<ItemOutcome[]> {
    const context = this.#request.command();
    const entries = new Map<number, UsageEntry>();
    for (const place of places) {
      const record = records[place];
      if (record?.kind !== 'usable') continue;
      const index = first + place;
      const { identity } = this.#request.command({ ordinal: index });
      entries.set(place, {
        usage: record.usage,
        name: record.name ?? (identity ? { kind: 'request', identity } : { kind: 'new' }),
        origin: { kind: 'http', correlationId: context.correlationId, index },
        sent: record.sent,
        ...(identity && { identity }),
      });
    }
    const recorded = await this.#commands.recordEach([...entries.values()], context);
    const failures = recorded.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
    const unexpected = failures.find((error) => !isTransient(error));
    if (unexpected !== undefined) throw unexpected;
    if (failures.length > 0) {
      if (failures.length === recorded.length) throw failures[0];
      this.isBrokenOff = true;
    }
    const byPlace = new Map([...entries.keys()].map((place, index) => [place, recorded[index]]));
    return places.map((place) => outcomeOf(records[place], byPlace.get(place)));
  }
}

function outcomeOf(
  record: SentRecord | undefined,
  recorded: PromiseSettledResult<RecordedUsage> | undefined,
): ItemOutcome {
  if (record?.kind === 'unusable') {
    return { result: { reason: record.reason, detail: record.detail }, isFinal: true };
  }
  if (recorded === undefined) throw new Error('a record that was to be stored has no outcome');
  if (recorded.status === 'rejected') {
    return { result: failureOf(recorded.reason), isFinal: false };
  }
  const { outcome, position } = recorded.value;
  if (outcome !== 'refused') return { result: outcome, isFinal: true, position };
  const { reason, detail } = recorded.value;
  return { result: { reason, detail }, isFinal: true, position };
}

const NOT_RECORDED = {
  reason: 'store-unavailable',
  detail: 'The store became unavailable before this record was recorded. Send it again.',
} as const;
const MAY_BE_RECORDED = {
  reason: 'store-unavailable',
  detail:
    'The store became unavailable, and this record may have been recorded. It is safe to send it ' +
    'again if it has an id or the request has an Idempotency-Key.',
} as const;

/** What a record is rejected with when its append fails. An overloaded log has not begun it. */
function failureOf(error: unknown): { readonly reason: string; readonly detail: string } {
  const wasNotSent = error instanceof LedgerError && error.code === 'overloaded';
  return wasNotSent ? NOT_RECORDED : MAY_BE_RECORDED;
}

function rejectedAll(
  records: readonly SentRecord[],
  first: number,
  failure: { readonly reason: string; readonly detail: string },
): JsonObject[] {
  return records.map((_record, place) => ({ index: first + place, ...failure }));
}
