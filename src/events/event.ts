import type { z } from 'zod';
import type { JsonObject } from '../shared/json.ts';

/**
 * What every event carries beside its data.
 *
 * - `actor`: the id of the key that asked for it, or `system:<part>`.
 * - `correlationId`: the request it came from; `causationId`: the command, when that has an identity
 *   of its own (an idempotency key, a message id), by which a repetition recognises its own work.
 * - `occurredAt`: the source's own time, if it gave one (the log adds its `recordedAt`).
 * - `schemaVersion`: the version of the event's data; `events/registry.ts` upcasts older ones.
 */
export interface EventMetadata {
  readonly projectId: string;
  readonly actor: string;
  readonly correlationId: string;
  readonly causationId?: string;
  /** Which command of that cause it was; those on one stream run in this order. Default: 0. */
  readonly causationOrdinal?: number;
  readonly occurredAt?: string;
  readonly schemaVersion: number;
}

/** One type of event: its name, the version and schema of its data, and what lifts older versions. */
export interface EventDefinition<
  Type extends string = string,
  Data extends JsonObject = JsonObject,
> {
  readonly type: Type;
  readonly version: number;
  readonly schema: z.ZodType<Data>;
  /** `upcasters[n]` takes data of version `n + 1` to version `n + 2`. */
  readonly upcasters: readonly ((data: JsonObject) => JsonObject)[];
  /** Fills in what only the log knows: when it was recorded. */
  readonly withRecordedAt?: WithRecordedAt;
}

type WithRecordedAt = (data: JsonObject, recordedAt: Date) => JsonObject;

/** The event as deciders produce it and folds read it: a member of a union, told apart by `type`. */
export type EventOf<Definition> =
  Definition extends EventDefinition<infer Type, infer Data>
    ? { readonly type: Type; readonly data: Data }
    : never;

export interface DomainEvent {
  readonly type: string;
  readonly data: JsonObject;
}

export function defineEvent<const Type extends string, Data extends JsonObject>(
  type: Type,
  schema: z.ZodType<Data>,
  upcasters: readonly ((data: JsonObject) => JsonObject)[] = [],
  withRecordedAt?: WithRecordedAt,
): EventDefinition<Type, Data> {
  const version = upcasters.length + 1;
  return { type, version, schema, upcasters, ...(withRecordedAt && { withRecordedAt }) };
}
