import { z } from 'zod';
import type { RejectionReason } from '../../events/usage.ts';
import { parseJsonText, pathOfUnsafeNumber, UNSAFE_NUMBER } from '../../shared/json-text.ts';
import { isJsonObject, type Json } from '../../shared/json.ts';
import { isScientific, SCIENTIFIC_RULE } from '../../shared/scientific-notation.ts';
import { isKeepableText } from '../../shared/text.ts';
import { canonicalTime } from '../../shared/time.ts';

/** So many bytes, used by a SIM card at a time. */
export interface SimUsage {
  readonly simCardId: string;
  /** 0 to 2^53 - 1 */
  readonly bytesUsed: number;
  /** To the millisecond. */
  readonly usedAt: Date;
}

/** What a record calls itself by: an id of its own, or that of the CloudEvent that it came in. */
export type OwnName =
  | { readonly kind: 'id'; readonly id: string }
  | { readonly kind: 'cloud-event'; readonly source: string; readonly id: string };

export type ParsedRecord =
  | { readonly kind: 'usable'; readonly usage: SimUsage; readonly name: OwnName | undefined }
  | Unusable;

export interface Unusable {
  readonly kind: 'unusable';
  readonly reason: RejectionReason;
  /** Which rule it breaks, for whoever sent it. */
  readonly detail: string;
}

/**
 * Reads a record of usage: `{"sim-card-id", "bytes-used", "date", "id"?}`, by these names or with
 * `_` for `-`, or a CloudEvent (version 1.0) with that as its `data`. Other members are passed
 * over.
 */
export function parseUsage(json: Json): ParsedRecord {
  if (!isJsonObject(json)) return unusable('must be an object');
  const unsafe = pathOfUnsafeNumber(json);
  if (unsafe !== undefined) return unusable(`${nameOf(unsafe)} ${UNSAFE_NUMBER}`);
  const isEnvelope = (json['specversion'] ?? null) !== null;
  if (!isEnvelope) return parseData(json);
  const envelope = cloudEvent.safeParse(json);
  if (!envelope.success) return unusable(complaintOf(envelope.error));
  const { source, id, time, data } = envelope.data;
  // Its own time stands in for that of the usage.
  const dated =
    (data['date'] ?? null) === null && typeof time === 'string' ? { ...data, date: time } : data;
  const parsed = parseData(dated as Json);
  return parsed.kind === 'usable' ? { ...parsed, name: cloudEventName(source, id) } : parsed;
}

/** A CloudEvent is known by its source and id together (CloudEvents 1.0, section 3.1). */
function cloudEventName(source: string, id: string): OwnName {
  return { kind: 'cloud-event', source, id };
}

/**
 * Reads a record from JSON text, which may be malformed. `envelope` completes what was parsed, for
 * example by attributes that are not in the text.
 */
export function parseUsageText(
  text: string,
  envelope: (json: Json) => Json = (json) => json,
): ParsedRecord {
  try {
    return parseUsage(envelope(parseJsonText(text)));
  } catch {
    // The parser's own words quote the text, which may be nothing that can be kept.
    return { kind: 'unusable', reason: 'malformed-json', detail: 'it is not valid JSON' };
  }
}

const MAX_ID_LENGTH = 256;

const idText = z
  .string('must be text')
  .refine(
    (text) => text !== '' && Array.from(text).length <= MAX_ID_LENGTH,
    `must have 1 to ${MAX_ID_LENGTH} characters`,
  )
  .refine(isKeepableText, 'must not hold U+0000 or lone surrogates');

const cloudEvent = z.object({
  specversion: z.literal('1.0', 'must be 1.0'),
  id: idText,
  source: idText,
  type: idText,
  time: z.string().nullish(),
  data: z.record(z.string(), z.unknown(), 'must be an object'),
});

const BYTES_RULE = 'must be a whole number of bytes, 0 to 2^53 - 1, also as text';

const usageData = z.object({
  'sim-card-id': z
    .string('must be text')
    .trim()
    // Neither could be asked for: clients and proxies resolve these segments of a path.
    .refine((id) => id !== '.' && id !== '..', "must not be '.' or '..'")
    .refine((id) => !isScientific(id), SCIENTIFIC_RULE)
    .pipe(idText),
  'bytes-used': z
    .union([z.number(), z.string().regex(/^\d+$/).transform(Number)], BYTES_RULE)
    .refine((bytes) => Number.isSafeInteger(bytes) && bytes >= 0, BYTES_RULE),
  date: z
    .string('must be text')
    .transform(canonicalTime)
    .pipe(z.iso.datetime({ offset: true, error: 'must be a time as RFC 3339 has it' }))
    .transform((text) => new Date(text))
    .refine(isOfQueryableYear, 'must be of the years 1 to 9998'),
  id: idText.nullish(),
});

function parseData(data: Json): ParsedRecord {
  const parsed = usageData.safeParse(withHyphens(data));
  if (!parsed.success) return unusable(complaintOf(parsed.error));
  const { 'sim-card-id': simCardId, 'bytes-used': bytesUsed, date: usedAt, id } = parsed.data;
  return {
    kind: 'usable',
    // -0 is a whole number to JSON, and another text than 0.
    usage: { simCardId, bytesUsed: bytesUsed + 0, usedAt },
    name: typeof id === 'string' ? { kind: 'id', id } : undefined,
  };
}

function withHyphens(data: Json): Json {
  if (!isJsonObject(data)) return data;
  const { sim_card_id: simCardId, bytes_used: bytesUsed } = data;
  return {
    ...data,
    'sim-card-id': data['sim-card-id'] ?? simCardId ?? null,
    'bytes-used': data['bytes-used'] ?? bytesUsed ?? null,
  };
}

/**
 * Whether a query can reach it: its end may be a day later. An offset may lead out of the years
 * that are written.
 */
function isOfQueryableYear(time: Date): boolean {
  const year = time.getUTCFullYear();
  return year >= 1 && year <= 9_998;
}

function unusable(detail: string): Unusable {
  return { kind: 'unusable', reason: 'validation-failed', detail };
}

/** A path of members as it can be kept: their names are the sender's. */
function nameOf(path: readonly string[]): string {
  const name = path.join('.');
  return isKeepableText(name) && name.length <= MAX_ID_LENGTH ? name : 'a member';
}

function complaintOf(error: z.ZodError): string {
  const [issue] = error.issues;
  return issue === undefined ? 'breaks a rule' : `${issue.path.join('.')} ${issue.message}`.trim();
}
