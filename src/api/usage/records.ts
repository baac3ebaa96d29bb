import { z } from 'zod';
import { parseUsage, parseUsageText } from '../../commands/usage-record.ts';
import type { UsageCommands } from '../../commands/usage.ts';
import type { Json, JsonObject } from '../../shared/json.ts';
import { ITEM_CONCURRENCY, ITEMS_LIMIT_BYTES, MAX_ITEMS } from '../item-results.ts';
import { chunksOf, NDJSON } from '../lines.ts';
import { defineRoute, type Route } from '../route.ts';
import { Ingestion, type TakenRecords } from './ingestion.ts';

const RECORD = {
  type: 'object',
  required: ['sim-card-id', 'bytes-used', 'date'],
  properties: {
    'sim-card-id': { type: 'string' },
    'bytes-used': { type: ['integer', 'string'] },
    date: { type: 'string', format: 'date-time' },
    id: { type: 'string', description: 'The same id again is the same record' },
  },
} as const;

function records(description: string, schema: object): z.ZodType<Json> {
  return z.json().meta({ override: schema, description });
}

const oneOrMany = records(`A record, a CloudEvent with one as its data, or up to ${MAX_ITEMS}`, {
  oneOf: [RECORD, { type: 'array', items: RECORD, maxItems: MAX_ITEMS }],
}).refine((json) => !Array.isArray(json) || json.length <= MAX_ITEMS, {
  error: `must not be more than ${MAX_ITEMS} records: send more of them as NDJSON`,
});

const ingested = z.object({
  accepted: z.int(),
  duplicates: z.int().meta({ description: 'Recorded before, under the same id' }),
  rejected: z.array(
    z.object({
      index: z.int().meta({ description: 'Of the record in the body, from 0' }),
      reason: z.string().meta({ description: 'A code' }),
      detail: z.string(),
    }),
  ),
});

export function recordRoutes(commands: UsageCommands): Route[] {
  const post = defineRoute({
    method: 'post',
    path: '/usage',
    summary: 'Record usage; one bad record stops no other',
    tag: 'Usage',
    access: ['owner', 'member'],
    body: {
      content: {
        'application/json': oneOrMany,
        'application/cloudevents+json': oneOrMany,
        'application/cloudevents-batch+json': oneOrMany,
      },
      limitBytes: ITEMS_LIMIT_BYTES,
      isCheckedByItem: true,
    },
    stream: {
      contentTypes: NDJSON,
      status: 202,
      listName: 'rejected',
      async *handle(request, lines, record) {
        const ingestion = new Ingestion(commands, request);
        const rest = lines[Symbol.asyncIterator]();
        const totals = (): JsonObject => ({
          accepted: ingestion.accepted,
          duplicates: ingestion.duplicates,
        });
        for await (const kept of record.kept()) {
          for (const part of kept as readonly unknown[] as readonly TakenRecords[]) {
            for (let passed = 0; passed < part.records; passed += 1) {
              if ((await rest.next()).done === true) return totals();
            }
            ingestion.pass(part);
            yield* part.rejected;
          }
        }
        const remaining = { [Symbol.asyncIterator]: () => rest };
        for await (const chunk of chunksOf(remaining, ITEM_CONCURRENCY)) {
          const taken = await ingestion.take(chunk.map(({ text }) => parseUsageText(text)));
          // What is kept has no gaps, and ends where the store went away.
          if (!ingestion.isBrokenOff) await record.keep([{ ...taken }]);
          yield* taken.rejected;
        }
        return totals();
      },
    },
    answers: { 202: ingested },
    async handle(request) {
      const items = Array.isArray(request.body) ? request.body : [request.body];
      const ingestion = new Ingestion(commands, request);
      const rejected: JsonObject[] = [];
      for (let start = 0; start < items.length; start += ITEM_CONCURRENCY) {
        const some = items.slice(start, start + ITEM_CONCURRENCY);
        rejected.push(...(await ingestion.take(some.map(parseUsage))).rejected);
      }
      const { accepted, duplicates, newest, isBrokenOff } = ingestion;
      return {
        status: 202,
        body: { accepted, duplicates, rejected },
        isPassing: isBrokenOff,
        ...(newest !== undefined && { position: newest }),
      };
    },
  });
  return [post];
}
