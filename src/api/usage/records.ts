import { z } from 'zod';
import { parseUsage, parseUsageText } from '../../commands/usage/record.ts';
import type { UsageCommands } from '../../commands/usage/commands.ts';
import type { Json, JsonObject } from '../../shared/json.ts';
import {
  digestOfLines,
  ITEM_CONCURRENCY,
  ITEMS_LIMIT_BYTES,
  MAX_ITEMS,
  nextLines,
} from '../item-results.ts';
import { NDJSON } from '../lines.ts';
import { defineRoute, type ApiRequest, type Line, type Route } from '../route.ts';
import { invalid } from '../validation.ts';
import { Ingestion, type SentRecord } from './ingestion.ts';

const RECORD = {
  type: 'object',
  required: ['sim-card-id', 'bytes-used', 'date'],
  properties: {
    'sim-card-id': { type: 'string' },
    'bytes-used': { type: ['integer', 'string'] },
    date: { type: 'string', format: 'date-time' },
    id: { type: 'string', description: 'Records with the same id count once' },
  },
} as const;

/** A CloudEvent (version 1.0) in structured mode. */
const EVENT = {
  type: 'object',
  required: ['specversion', 'id', 'source', 'type', 'data'],
  properties: {
    specversion: { const: '1.0' },
    id: { type: 'string', description: 'Records with the same source and id count once' },
    source: { type: 'string' },
    type: { type: 'string' },
    time: {
      type: 'string',
      format: 'date-time',
      description: 'The time of use, if `data` has no `date`',
    },
    data: { type: 'object', description: 'A usage record' },
  },
} as const;

const EXAMPLE = { 'sim-card-id': '89440001', 'bytes-used': 1024, date: '2026-01-01T00:00:00Z' };

function exampleEvent(id: string): JsonObject {
  return { specversion: '1.0', id, source: '/gateway-1', type: 'usage', data: EXAMPLE };
}

/** Each record is checked for itself, so that a bad one stops no other. */
const oneOrMany = z
  .unknown()
  .refine((json) => !Array.isArray(json) || json.length <= MAX_ITEMS, {
    error: `must not be more than ${MAX_ITEMS} records: send more of them as NDJSON`,
  })
  .meta({
    override: {
      anyOf: [
        RECORD,
        EVENT,
        { type: 'array', items: { anyOf: [RECORD, EVENT] }, maxItems: MAX_ITEMS },
      ],
    },
    description: `A usage record, a CloudEvent with one as its data, or up to ${MAX_ITEMS} of them`,
  });
const event = oneOrMany.meta({
  override: EVENT,
  description: 'A CloudEvent with a usage record as its data',
});
const events = oneOrMany.meta({
  override: { type: 'array', items: EVENT, maxItems: MAX_ITEMS },
  description: `Up to ${MAX_ITEMS} events`,
});

const ingested = z.object({
  accepted: z.int(),
  duplicates: z.int().meta({ description: 'The number of records that were recorded before' }),
  rejected: z.array(
    z.object({
      index: z.int().meta({ description: 'The index of the record in the body, from 0' }),
      reason: z.string().meta({ description: 'A code such as `validation-failed`' }),
      detail: z.string(),
    }),
  ),
});

export function recordRoutes(commands: UsageCommands): Route[] {
  const post = defineRoute({
    method: 'post',
    path: '/usage',
    operationId: 'createUsageRecords',
    summary: 'Record usage; an invalid record stops no other',
    tag: 'Usage',
    access: ['owner', 'member'],
    takesCloudEvent: true,
    body: {
      content: {
        'application/json': oneOrMany,
        'application/cloudevents+json': event,
        'application/cloudevents-batch+json': events,
      },
      examples: {
        'application/json': EXAMPLE,
        'application/cloudevents+json': exampleEvent('1'),
        'application/cloudevents-batch+json': [exampleEvent('2'), exampleEvent('3')],
      },
      limitBytes: ITEMS_LIMIT_BYTES,
      isCheckedByItem: true,
    },
    stream: {
      contentTypes: NDJSON,
      example: `${JSON.stringify(EXAMPLE)}\n`,
      status: 202,
      listName: 'rejected',
      async *handle(request, body) {
        refuseBinaryMode(request);
        const ingestion = new Ingestion(commands, request);
        const rest = body[Symbol.asyncIterator]();
        for (;;) {
          // The reservation is no longer needed once the store is unavailable.
          const size = ingestion.isBrokenOff ? undefined : await request.results.nextPartSize();
          const lines = await nextLines(rest, size ?? ITEM_CONCURRENCY);
          if (lines.length === 0) break;
          yield* await ingestion.take(lines.map(parseLine), { digest: digestOfLines(lines) });
        }
        return { accepted: ingestion.accepted, duplicates: ingestion.duplicates };
      },
    },
    answers: { 202: ingested },
    async handle(request) {
      const items = itemsOf(request);
      const ingestion = new Ingestion(commands, request);
      const rejected: JsonObject[] = [];
      for (let start = 0; start < items.length; start += ITEM_CONCURRENCY) {
        const some = items.slice(start, start + ITEM_CONCURRENCY);
        rejected.push(...(await ingestion.take(some.map(parseItem))));
      }
      const { accepted, duplicates, newest, isBrokenOff } = ingestion;
      return {
        status: 202,
        body: { accepted, duplicates, rejected },
        isTransient: isBrokenOff,
        isKeptByItem: true,
        ...(newest !== undefined && { position: newest }),
      };
    },
  });
  return [post];
}

/** The records of a body; a CloudEvent in binary mode, whose data is the body, is one. */
function itemsOf({
  body,
  headers: { cloudEvent },
}: ApiRequest<unknown, unknown, unknown>): readonly unknown[] {
  if (cloudEvent !== undefined) return [{ ...cloudEvent, data: body }];
  return Array.isArray(body) ? body : [body];
}

function refuseBinaryMode({ headers }: ApiRequest<unknown, unknown, unknown>): void {
  if (headers.cloudEvent === undefined) return;
  const message = 'is for one record in application/json: send several as structured events';
  throw invalid([{ path: 'header.ce-specversion', message }]);
}

function parseLine({ text }: Line): SentRecord {
  return { ...parseUsageText(text), sent: () => Buffer.from(text) };
}

function parseItem(item: unknown): SentRecord {
  return { ...parseUsage(item as Json), sent: () => Buffer.from(textOf(item)) };
}

function textOf(item: unknown): string {
  try {
    return JSON.stringify(item);
  } catch (error) {
    // The stack: it nests by the thousand in what is passed over.
    if (error instanceof RangeError) return '';
    throw error;
  }
}
