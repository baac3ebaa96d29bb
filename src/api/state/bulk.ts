import { z } from 'zod';
import type { PatchResult, StateCommands } from '../../commands/state.ts';
import type { Position } from '../../projections/engine/read-model.ts';
import type { Json, JsonObject } from '../../shared/json.ts';
import { parseJsonText, refuseUnkeepable } from '../body.ts';
import { idField } from '../fields.ts';
import { asLedgerError, statusOf } from '../problem.ts';
import { defineRoute, type ApiRequest, type Line, type Route } from '../route.ts';
import { incomingPatch, patchBody, requireOwnSensor } from './patch-body.ts';

const MAX_BULK_ITEMS = 10_000;
const BULK_LIMIT_BYTES = 16 * 1024 * 1024;
/** Bulk patches that run at a time: they are appended together, so more gain little. */
const BULK_CONCURRENCY = 500;

const bulkItem = patchBody.extend({ id: idField });
const bulkBody = z
  .array(z.unknown())
  .max(MAX_BULK_ITEMS)
  .meta({
    override: { items: { type: 'object', required: ['id', 'data'] } },
    description: 'Each: {"id", "data", "message_id"?, "sequence"?, "timestamp"?}',
  });

const bulkResult = z.object({
  id: z.string().nullable(),
  status: z.int().meta({ description: 'As if it had been sent alone' }),
  revision: z.int().optional(),
  deduplicated: z.string().optional(),
  code: z.string().optional(),
});

export function bulkRoutes(commands: StateCommands): Route[] {
  async function patchOne(
    request: ApiRequest<unknown, unknown, unknown>,
    item: unknown,
    ordinal: number,
  ): Promise<{ result: JsonObject; position: Position | undefined }> {
    const parsed = bulkItem.safeParse(item);
    const id = idOf(item);
    if (!parsed.success) {
      const code = 'validation-failed';
      return { result: { id, status: statusOf[code], code }, position: undefined };
    }
    try {
      refuseUnkeepable(item as Json);
      requireOwnSensor(request.caller, parsed.data.id);
      const patched = await commands.patch(
        parsed.data.id,
        incomingPatch(parsed.data, request.now),
        request.command({ ordinal, occurredAt: parsed.data.timestamp }),
      );
      return { result: bulkAnswer(parsed.data.id, patched), position: patched.position };
    } catch (error) {
      const { code } = asLedgerError(error);
      return { result: { id, status: statusOf[code], code }, position: undefined };
    }
  }

  async function patchLine(
    request: ApiRequest<unknown, unknown, undefined>,
    { number, text }: Line,
  ): Promise<{ result: JsonObject }> {
    try {
      return await patchOne(request, parseJsonText(text), number);
    } catch (error) {
      const { code } = asLedgerError(error);
      return { result: { id: null, status: statusOf[code], code } };
    }
  }

  const patchMany = defineRoute({
    method: 'post',
    path: '/sensors/patches',
    summary: 'Patch many sensors; one bad item stops no other',
    tag: 'State',
    access: ['owner', 'member', 'device'],
    body: {
      content: { 'application/json': bulkBody },
      limitBytes: BULK_LIMIT_BYTES,
      isCheckedByItem: true,
    },
    stream: {
      contentTypes: ['application/x-ndjson', 'application/ndjson', 'application/jsonl'],
      async *handle(request, lines, record) {
        const rest = lines[Symbol.asyncIterator]();
        for await (const results of record.kept()) {
          for (const result of results) {
            if ((await rest.next()).done === true) return;
            yield result;
          }
        }
        let isKeeping = true;
        const remaining = { [Symbol.asyncIterator]: () => rest };
        for await (const chunk of chunksOf(remaining, BULK_CONCURRENCY)) {
          const answers = await Promise.all(chunk.map((line) => patchLine(request, line)));
          const results = answers.map(({ result }) => result);
          // What may pass is not kept, nor what comes after it: what is kept has no gaps.
          isKeeping &&= results.every(isFinal);
          if (isKeeping) await record.keep(results);
          yield* results;
        }
      },
    },
    answers: { 200: z.object({ results: z.array(bulkResult) }) },
    async handle(request) {
      const results: JsonObject[] = [];
      let newest: Position | undefined;
      for (let start = 0; start < request.body.length; start += BULK_CONCURRENCY) {
        const chunk = request.body.slice(start, start + BULK_CONCURRENCY);
        const answers = await Promise.all(
          chunk.map((item, index) => patchOne(request, item, start + index)),
        );
        for (const { result, position } of answers) {
          results.push(result);
          if (position !== undefined && (newest === undefined || position > newest))
            newest = position;
        }
      }
      return {
        status: 200,
        body: { results },
        isPassing: !results.every(isFinal),
        ...(newest !== undefined && { position: newest }),
      };
    },
  });

  return [patchMany];
}

function isFinal({ status }: JsonObject): boolean {
  return Number(status) < 500;
}

function bulkAnswer(id: string, patched: PatchResult): JsonObject {
  const revision = Number(patched.revision);
  return patched.outcome === 'deduplicated'
    ? { id, status: 200, revision, deduplicated: patched.by }
    : { id, status: 200, revision };
}

function idOf(item: unknown): string | null {
  const id = typeof item === 'object' && item !== null && 'id' in item ? item.id : null;
  return typeof id === 'string' ? id : null;
}

async function* chunksOf(lines: AsyncIterable<Line>, size: number): AsyncIterable<Line[]> {
  let chunk: Line[] = [];
  for await (const line of lines) {
    chunk.push(line);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}
