import { parseUsageText, type ParsedRecord, type Unusable } from '../commands/usage/record.ts';
import type { Json } from '../shared/json.ts';
import type { MessageHeaders, SourceMessage } from './source.ts';

/** What a message says, or why it cannot be used. */
export function readUsageMessage({
  value,
  headers,
}: Pick<SourceMessage, 'value' | 'headers'>): ParsedRecord {
  if (value === null || value.length === 0) return malformed('there is no value');
  const text = textOf(value);
  if (text === undefined) return malformed('it is not UTF-8');
  return parseUsageText(text, (json) => withAttributes(json, headers));
}

/** A CloudEvent in binary mode has its attributes in headers, and the value is its data. */
function withAttributes(json: Json, headers: MessageHeaders): Json {
  const specversion = headerText(headers, 'ce_specversion');
  if (specversion === undefined) return json;
  const envelope: Record<string, Json> = { specversion, data: json };
  for (const attribute of ['id', 'source', 'type', 'time']) {
    const given = headerText(headers, `ce_${attribute}`);
    if (given !== undefined) envelope[attribute] = given;
  }
  return envelope;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function textOf(bytes: Buffer): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

function headerText(headers: MessageHeaders, name: string): string | undefined {
  const given = headers[name];
  const first = Array.isArray(given) ? given[0] : given;
  return first?.toString();
}

function malformed(detail: string): Unusable {
  return { kind: 'unusable', reason: 'malformed-json', detail };
}
