import { LedgerError } from '../shared/errors.ts';
import type { JsonObject } from '../shared/json.ts';
import type { DomainEvent, EventDefinition, EventMetadata } from './event.ts';
import { devEuiEvents } from './deveui.ts';
import { firmwareEvents } from './firmware.ts';
import { projectionEvents } from './projections.ts';
import { requestEvents } from './requests.ts';
import { stateEvents } from './state.ts';
import { tenancyEvents } from './tenancy.ts';
import { usageEvents } from './usage.ts';
import { webhookEvents } from './webhooks.ts';

const definitions: ReadonlyMap<string, EventDefinition> = new Map(
  (
    [
      ...devEuiEvents,
      ...firmwareEvents,
      ...projectionEvents,
      ...requestEvents,
      ...stateEvents,
      ...tenancyEvents,
      ...usageEvents,
      ...webhookEvents,
    ] as readonly EventDefinition[]
  ).map((definition) => [definition.type, definition]),
);

/** An event as the log takes it, but for its id: checked against its schema, in today's version. */
export function recordable(
  { type, data }: DomainEvent,
  metadata: Omit<EventMetadata, 'schemaVersion'>,
): { readonly type: string; readonly data: JsonObject; readonly metadata: EventMetadata } {
  const definition = definitions.get(type);
  if (definition === undefined) throw new Error(`event type ${type} is not in the registry`);
  // What breaks the contract must never enter the log: nothing could take it out again.
  definition.schema.parse(data);
  return { type, data, metadata: { ...metadata, schemaVersion: definition.version } };
}

/** Whether this release knows events of the type: a newer one may have written others beside them. */
export function isKnownType(type: string): boolean {
  return definitions.has(type);
}

/** A recorded event as folds and projections read it: in the version that today's code knows. */
export function domainEvent(recorded: {
  readonly type: string;
  readonly data: JsonObject;
  readonly metadata: EventMetadata;
  readonly recordedAt?: Date;
}): DomainEvent {
  const { type, data, metadata, recordedAt } = recorded;
  const upcasted = upcast(type, metadata.schemaVersion, data);
  const fill = definitions.get(type)?.withRecordedAt;
  return { type, data: fill && recordedAt ? fill(upcasted, recordedAt) : upcasted };
}

/**
 * The data of a recorded event in the version that today's code reads: older versions are lifted
 * step by step, the present one comes back as it is.
 * @throws LedgerError `newer-event-version` when this release does not know the version.
 */
function upcast(type: string, schemaVersion: number, data: JsonObject): JsonObject {
  const definition = definitions.get(type);
  if (definition === undefined || schemaVersion === definition.version) return data;
  if (schemaVersion > definition.version) {
    throw new LedgerError(
      'newer-event-version',
      `${type} has version ${schemaVersion}, and this release reads up to ${definition.version}: ask a process of the newer release.`,
    );
  }
  return definition.upcasters.slice(schemaVersion - 1).reduce((older, lift) => lift(older), data);
}
