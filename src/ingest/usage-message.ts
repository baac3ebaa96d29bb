import type { KafkaMessage } from 'kafkajs';
import { parseUsage, parseUsageText, type ParsedRecord } from '../commands/usage/record.ts';
import { parseJsonText } from '../shared/json-text.ts';
import type { Json } from '../shared/json.ts';

/** What a message says, or why it cannot be used. */
export function readUsageMessage({
  value,
  headers,
}: Pick<KafkaMessage, 'value' | 'headers'>): ParsedRecord {
  if (value === null || value.length === 0) return malformed('there is no value');
  const text = textOf(value);
  if (text === undefined) return malformed('it is not UTF-8');
  const parsed = parseUsageText(text);
  const specversion = headerText(headers, 'ce_specversion');
  const isJson = parsed.kind === 'usable' || parsed.reason !== 'malformed-json';
  if (specversion === undefined || !isJson) return parsed;
  // A CloudEvent in binary mode: its attributes are headers, and the value is its data.
  const envelope: Record<string, Json> = { specversion, data: parseJsonText(text) };
  for (const attribute of ['id', 'source', 'type', 'time']) {
    const given = headerText(headers, `ce_${attribute}`);
    if (given !== undefined) envelope[attribute] = given;
  }
  return parseUsage(envelope);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function textOf(bytes: Buffer): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

function headerText(headers: KafkaMessage['headers'], name: string): string | undefined {
  const given = headers?.[name];
  const first = Array.isArray(given) ? given[0] : given;
  return first?.toString();
}

function malformed(detail: string): ParsedRecord {
  return { kind: 'unusable', reason: 'malformed-json', detail };
}
