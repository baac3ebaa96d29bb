import { z } from 'zod';
import type { IncomingPatch } from '../../commands/state/dedup.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { Caller } from '../authentication.ts';
import { idField, timestampField } from '../fields.ts';

const MAX_DATA_BYTES = 64 * 1024;
const MAX_DATA_DEPTH = 32;

// Not `z.record`: the object is kept as it was parsed, with a key `__proto__` if it has one.
const dataField = z
  .unknown()
  .refine(isObject, { error: 'must be an object', abort: true })
  .refine((data) => !isDeeperThan(data, MAX_DATA_DEPTH), {
    error: `must not nest deeper than ${MAX_DATA_DEPTH} levels`,
    // What is so deep cannot be written as JSON to be measured.
    abort: true,
  })
  .refine(
    (data) => Buffer.byteLength(JSON.stringify(data ?? null)) <= MAX_DATA_BYTES,
    `must not take more than ${MAX_DATA_BYTES} bytes`,
  )
  .meta({
    override: { type: 'object', additionalProperties: true },
    examples: [{ temperature: 21 }],
  }) as unknown as z.ZodType<JsonObject>;

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export const patchBody = z.strictObject({
  data: dataField,
  message_id: idField.optional(),
  sequence: z.int().optional(),
  timestamp: timestampField.optional(),
});
export type PatchBody = z.infer<typeof patchBody>;

/** `application/merge-patch+json`: the patch itself. */
export const mergePatchBody = dataField.transform((data): PatchBody => ({ data }));

export function incomingPatch(body: PatchBody, receivedAt: Date): IncomingPatch {
  return {
    patch: body.data,
    receivedAt,
    ...(body.message_id !== undefined && { messageId: body.message_id }),
    ...(body.sequence !== undefined && { sequence: body.sequence }),
  };
}

/** A device speaks for its own sensor alone. */
export function requireOwnSensor(caller: Caller, sensorId: string): void {
  if (caller.kind !== 'device' || caller.sensorId === sensorId) return;
  throw new LedgerError(
    'forbidden',
    'A device key uses the sensor of its own device only: use a member key.',
  );
}

function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeperThan(inner, levels - 1));
}
