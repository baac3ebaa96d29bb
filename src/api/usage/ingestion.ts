import type { ParsedRecord } from '../../commands/usage-record.ts';
import type { UsageCommands, UsageEntry } from '../../commands/usage.ts';
import type { Position } from '../../projections/engine/read-model.ts';
import { mayPass } from '../../shared/errors.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { ApiRequest } from '../route.ts';

/** A record as it was read, and as it came. */
export type SentRecord = ParsedRecord & { readonly sent: () => Buffer };

/** What became of some records that stand together in a body. */
export interface TakenRecords {
  readonly records: number;
  readonly accepted: number;
  readonly duplicates: number;
  /** By their places in the body. */
  readonly rejected: JsonObject[];
}

/** The records of one request, in their order. */
export class Ingestion {
  accepted = 0;
  duplicates = 0;
  newest: Position | undefined;
  /** The store went away in the midst of it: the rest was not recorded. */
  isBrokenOff = false;
  readonly #commands: UsageCommands;
  readonly #request: ApiRequest<unknown, unknown, unknown>;
  #index = 0;

  constructor(commands: UsageCommands, request: ApiRequest<unknown, unknown, unknown>) {
    this.#commands = commands;
    this.#request = request;
  }

  /** Counts what an earlier run of the request has taken. */
  pass({ records, accepted, duplicates }: TakenRecords): void {
    this.#index += records;
    this.accepted += accepted;
    this.duplicates += duplicates;
  }

  /**
   * Where nothing is recorded yet, a store that is away is a request that failed. Later it is not, as the client
   * would send again what was recorded: then the rest is rejected.
   * @throws LedgerError as `UsageCommands.record`
   */
  async take(parsed: readonly SentRecord[]): Promise<TakenRecords> {
    const first = this.#index;
    let taken: TakenRecords;
    try {
      taken = this.isBrokenOff ? notRecorded(parsed, first) : await this.#record(parsed, first);
    } catch (error) {
      if (!mayPass(error) || this.accepted === 0) throw error;
      this.isBrokenOff = true;
      taken = notRecorded(parsed, first);
    }
    this.pass(taken);
    return taken;
  }

  async #record(parsed: readonly SentRecord[], first: number): Promise<TakenRecords> {
    const context = this.#request.command();
    const { correlationId } = context;
    const rejected: JsonObject[] = [];
    const entries: (UsageEntry & { readonly origin: { readonly index: number } })[] = [];
    for (const [place, record] of parsed.entries()) {
      const index = first + place;
      if (record.kind === 'unusable') {
        rejected.push({ index, reason: record.reason, detail: record.detail });
        continue;
      }
      const { identity } = this.#request.command({ ordinal: index });
      entries.push({
        usage: record.usage,
        name: record.name ?? (identity ? { kind: 'request', identity } : { kind: 'new' }),
        origin: { kind: 'http', correlationId, index },
        sent: record.sent,
        ...(identity && { identity }),
      });
    }
    const recorded = await this.#commands.record(entries, context);
    let [accepted, duplicates] = [0, 0];
    for (const [place, { outcome, position }] of recorded.entries()) {
      if (this.newest === undefined || position > this.newest) this.newest = position;
      if (outcome === 'recorded') accepted += 1;
      else if (outcome === 'duplicate') duplicates += 1;
      else {
        const index = entries[place]?.origin.index ?? first;
        const detail = 'its id was used before, with another record';
        rejected.push({ index, reason: 'id-reused', detail });
      }
    }
    rejected.sort((a, b) => Number(a['index']) - Number(b['index']));
    return { records: parsed.length, accepted, duplicates, rejected };
  }
}

function notRecorded(parsed: readonly SentRecord[], first: number): TakenRecords {
  const rejected = parsed.map((_record, place) => ({
    index: first + place,
    reason: 'store-unavailable',
    detail: 'the store went away before it was recorded: send it again',
  }));
  return { records: parsed.length, accepted: 0, duplicates: 0, rejected };
}
