import { z } from 'zod';
import { parseUsage, parseUsageText } from '../../commands/usage-record.ts';
import type { UsageCommands } from '../../commands/usage.ts';
import { sha256 } from '../../shared/ids.ts';
import type { Json, JsonObject } from '../../shared/json.ts';
import { ITEM_CONCURRENCY, ITEMS_LIMIT_BYTES, MAX_ITEMS } from '../item-results.ts';
import { NDJSON } from '../lines.ts';
import { defineRoute, type Line, type Route } from '../route.ts';
import { Ingestion, type SentRecord, type TakenRecords } from './ingestion.ts';

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

/** Each record is checked for itself, so that a bad one stops no other. */
const oneOrMany = z
  .unknown()
  .refine((json) => !Array.isArray(json) || json.length <= MAX_ITEMS, {
    error: `must not be more than ${MAX_ITEMS} records: send more of them as NDJSON`,
  })
  .meta({
    override: { oneOf: [RECORD, { type: 'array', items: RECORD, maxItems: MAX_ITEMS }] },
    description: `A record, a CloudEvent with one as its data, or up to ${MAX_ITEMS}`,
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
      async *handle(request, body, record) {
        const ingestion = new Ingestion(commands, request);
        const rest = body[Symbol.asyncIterator]();
        const totals = (): JsonObject => ({
          accepted: ingestion.accepted,
          duplicates: ingestion.duplicates,
        });
        for await (const kept of record.kept()) {
          for (const part of kept as readonly unknown[] as readonly KeptLines[]) {
            const again = await next(rest, part.records);
            // Other lines than those of the first time are judged by their names, like any other record.
            const isSame = digestOf(again) === part.digest;
            const { rejected } = isSame ? part : await ingestion.take(again.map(parseLine));
            if (isSame) ingestion.pass(part);
            yield* rejected;
          }
        }
        for (;;) {
          const lines = await next(rest, ITEM_CONCURRENCY);
          if (lines.length === 0) break;
          const taken = await ingestion.take(lines.map(parseLine));
          // What is kept has no gaps, and ends where the store went away.
          if (!ingestion.isBrokenOff) await record.keep([{ ...taken, digest: digestOf(lines) }]);
          yield* taken.rejected;
        }
        return totals();
      },
    },
    answers: { 202: ingested },
    async handle(request) {
      const items: readonly unknown[] = Array.isArray(request.body) ? request.body : [request.body];
      const ingestion = new Ingestion(commands, request);
      const rejected: JsonObject[] = [];
      for (let start = 0; start < items.length; start += ITEM_CONCURRENCY) {
        const some = items.slice(start, start + ITEM_CONCURRENCY);
        rejected.push(...(await ingestion.take(some.map(parseItem))).rejected);
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

/** How the outcome of some lines is kept, for a repetition of the request. */
interface KeptLines extends TakenRecords {
  readonly digest: string;
}

/** So many of the next lines, or as many as there are. */
async function next(lines: AsyncIterator<Line>, count: number): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) {
    const { value, done } = await lines.next();
    if (done === true) break;
    texts.push(value.text);
  }
  return texts;
}

function digestOf(lines: readonly string[]): string {
  return sha256(lines.join('\n'));
}

function parseLine(text: string): SentRecord {
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
