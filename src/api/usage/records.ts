import { z } from 'zod';
import { parseUsage, parseUsageText, type ParsedRecord } from '../../commands/usage-record.ts';
import type { UsageCommands, UsageEntry } from '../../commands/usage.ts';
import type { Position } from '../../projections/engine/read-model.ts';
import type { Json, JsonObject } from '../../shared/json.ts';
import { ITEM_CONCURRENCY, ITEMS_LIMIT_BYTES, MAX_ITEMS } from '../item-results.ts';
import { chunksOf, NDJSON } from '../lines.ts';
import { defineRoute, type ApiRequest, type Route } from '../route.ts';

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

/** What became of records: those of a body, or of some lines of it. */
interface Ingested {
  readonly accepted: number;
  readonly duplicates: number;
  readonly rejected: JsonObject[];
  readonly position: Position | undefined;
}

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
        const rest = lines[Symbol.asyncIterator]();
        let [accepted, duplicates, index] = [0, 0, 0];
        for await (const parts of record.kept()) {
          for (const part of parts as readonly unknown[] as readonly KeptPart[]) {
            for (let skipped = 0; skipped < part.lines; skipped += 1) await rest.next();
            index += part.lines;
            accepted += part.accepted;
            duplicates += part.duplicates;
            yield* part.rejected;
          }
        }
        const remaining = { [Symbol.asyncIterator]: () => rest };
        for await (const chunk of chunksOf(remaining, ITEM_CONCURRENCY)) {
          const parsed = chunk.map(({ text }) => parseUsageText(text));
          const { position: _position, ...outcome } = await ingest(
            commands,
            request,
            parsed,
            index,
          );
          await record.keep([{ lines: chunk.length, ...outcome }]);
          index += chunk.length;
          accepted += outcome.accepted;
          duplicates += outcome.duplicates;
          yield* outcome.rejected;
        }
        return { accepted, duplicates };
      },
    },
    answers: { 202: ingested },
    async handle(request) {
      const items = Array.isArray(request.body) ? request.body : [request.body];
      const total = { accepted: 0, duplicates: 0, rejected: [] as JsonObject[] };
      let newest: Position | undefined;
      for (let start = 0; start < items.length; start += ITEM_CONCURRENCY) {
        const parsed = items.slice(start, start + ITEM_CONCURRENCY).map(parseUsage);
        const { position, ...part } = await ingest(commands, request, parsed, start);
        total.accepted += part.accepted;
        total.duplicates += part.duplicates;
        total.rejected.push(...part.rejected);
        if (position !== undefined && (newest === undefined || position > newest))
          newest = position;
      }
      return {
        status: 202,
        body: total,
        ...(newest !== undefined && { position: newest }),
      };
    },
  });
  return [post];
}

/** How the outcome of some lines is kept, for a repetition of the request. */
interface KeptPart extends Omit<Ingested, 'position'> {
  readonly lines: number;
}

async function ingest(
  commands: UsageCommands,
  request: ApiRequest<unknown, unknown, unknown>,
  parsed: readonly ParsedRecord[],
  firstIndex: number,
): Promise<Ingested> {
  const context = request.command();
  const rejected: JsonObject[] = [];
  const entries: (UsageEntry & { index: number })[] = [];
  for (const [place, record] of parsed.entries()) {
    const index = firstIndex + place;
    if (record.kind === 'unusable') {
      rejected.push({ index, reason: record.reason, detail: record.detail });
      continue;
    }
    const { identity } = request.command({ ordinal: index });
    entries.push({
      index,
      usage: record.usage,
      name: record.name ?? (identity ? { kind: 'request', identity } : { kind: 'new' }),
      origin: { kind: 'http', correlationId: context.correlationId, index },
      ...(identity && { identity }),
    });
  }
  const outcomes = await commands.record(entries, context);
  for (const [place, { outcome }] of outcomes.entries()) {
    if (outcome !== 'refused') continue;
    const detail = 'its id was used before, with another record';
    rejected.push({ index: entries[place]?.index ?? 0, reason: 'id-reused', detail });
  }
  const positions = outcomes.map(({ position }) => position);
  return {
    accepted: outcomes.filter(({ outcome }) => outcome === 'recorded').length,
    duplicates: outcomes.filter(({ outcome }) => outcome === 'duplicate').length,
    rejected: rejected.toSorted((a, b) => Number(a['index']) - Number(b['index'])),
    position: positions.reduce<Position | undefined>(
      (newest, position) => (newest === undefined || position > newest ? position : newest),
      undefined,
    ),
  };
}
