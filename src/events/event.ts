import type { z } from 'zod';
import { LedgerError } from '../shared/errors.ts';
import type { JsonObject } from '../shared/json.ts';

/**
 * What every event carries beside its data.
 *
 * - `actor`: the id of the key that asked for it, or `system:<part>`.
 * - `correlationId`: the request it came from; `causationId`: the command, when that has an
 *   identity
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

/**
 * One type of event: its name, the version and schema of its data, and what lifts older versions.
 */
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

/**
 * The event as deciders produce it and folds read it: a member of a union, told apart by `type`.
 */
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

/** An event as the log gives it back, as far as its data is concerned. */
export interface ReadableEvent {
  readonly type: string;
  readonly data: JsonObject;
  readonly metadata: EventMetadata;
  readonly recordedAt?: Date;
}

/** An event as the log takes it, but for its id. */
export interface RecordableEvent {
  readonly type: string;
  readonly data: JsonObject;
  readonly metadata: EventMetadata;
}

/**
 * What a domain has in the log: the categories of its streams, and its types of events. Whoever
 * reads events through the contract of their domain gets them typed.
 */
export class Contract<Category extends string = string, Event extends DomainEvent = DomainEvent> {
  readonly categories: readonly Category[];
  readonly #definitions: ReadonlyMap<string, EventDefinition>;

  constructor(categories: readonly Category[], definitions: readonly EventDefinition[]) {
    this.categories = categories;
    this.#definitions = new Map(definitions.map((definition) => [definition.type, definition]));
  }

  get types(): readonly string[] {
    return [...this.#definitions.keys()];
  }

  /** Whether this release knows the type: a newer one may have written others beside it. */
  knows(type: string): boolean {
    return this.#definitions.has(type);
  }

  /**
   * Checks the event against its schema: what breaks the contract could never be taken out again.
   */
  record({ type, data }: Event, metadata: Omit<EventMetadata, 'schemaVersion'>): RecordableEvent {
    const definition = this.#definitions.get(type);
    if (definition === undefined) throw new Error(`event type ${type} is not in the contract`);
    definition.schema.parse(data);
    return { type, data, metadata: { ...metadata, schemaVersion: definition.version } };
  }

  /**
   * A recorded event in the version that today's code reads: older versions are lifted step by
   * step.
   * @throws LedgerError `newer-event-version`, when this release does not know the version
   */
  read({ type, data, metadata, recordedAt }: ReadableEvent): Event {
    const definition = this.#definitions.get(type);
    const lifted = definition === undefined ? data : upcast(definition, metadata, data);
    const fill = definition?.withRecordedAt;
    // The type names the schema that the data was checked against when it was recorded.
    return { type, data: fill && recordedAt ? fill(lifted, recordedAt) : lifted } as Event;
  }
}

/** The union of a contract's events. */
export type EventsOf<Contracted> = Contracted extends Contract<string, infer Event> ? Event : never;

export function defineContract<
  const Category extends string,
  const Definitions extends readonly unknown[],
>({
  categories,
  events,
}: {
  readonly categories: readonly Category[];
  readonly events: Definitions;
}): Contract<Category, EventOf<Definitions[number]>> {
  // Each is an `EventDefinition`: their schemas differ, and a list of them has no common type.
  return new Contract(categories, events as readonly unknown[] as readonly EventDefinition[]);
}

function upcast(
  { type, version, upcasters }: EventDefinition,
  { schemaVersion }: EventMetadata,
  data: JsonObject,
): JsonObject {
  if (schemaVersion > version) {
    throw new LedgerError(
      'newer-event-version',
      `${type} has version ${schemaVersion}, and this release reads up to ${version}: ` +
        'upgrade this process.',
    );
  }
  return upcasters.slice(schemaVersion - 1).reduce((older, lift) => lift(older), data);
}
