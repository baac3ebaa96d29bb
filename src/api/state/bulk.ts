import { z } from 'zod';
import type { PatchResult, StateCommands } from '../../commands/state.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { Json, JsonObject } from '../../shared/json.ts';
import { parseJsonText, refuseUnkeepable } from '../body.ts';
import { chunksOf, NDJSON } from '../lines.ts';
import { idField } from '../fields.ts';
import {
  answerEach,
  isFinal,
  ITEM_CONCURRENCY,
  ITEMS_LIMIT_BYTES,
  MAX_ITEMS,
  refusalOf,
  type ItemOutcome,
} from '../item-results.ts';
import { defineRoute, type ApiRequest, type Line, type Route } from '../route.ts';
import { incomingPatch, patchBody, requireOwnSensor } from './patch-body.ts';

const bulkItem = patchBody.extend({ id: idField });
const bulkBody = z
  .array(z.unknown())
  .max(MAX_ITEMS)
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
  ): Promise<ItemOutcome> {
    const id = idOf(item);
    try {
      const parsed = bulkItem.safeParse(item);
      if (!parsed.success) throw new LedgerError('validation-failed', 'The item breaks a rule.');
      refuseUnkeepable(item as Json);
      requireOwnSensor(request.caller, parsed.data.id);
      const patched = await commands.patch(
        parsed.data.id,
        incomingPatch(parsed.data, request.now),
        request.command({ ordinal, occurredAt: parsed.data.timestamp }),
      );
      return { result: bulkAnswer(parsed.data.id, patched), position: patched.position };
    } catch (error) {
      return { result: { id, ...refusalOf(error) } };
    }
  }

  async function patchLine(
    request: ApiRequest<unknown, unknown, undefined>,
    { number, text }: Line,
  ): Promise<ItemOutcome> {
    try {
      return await patchOne(request, parseJsonText(text), number);
    } catch (error) {
      return { result: { id: null, ...refusalOf(error) } };
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
      limitBytes: ITEMS_LIMIT_BYTES,
      isCheckedByItem: true,
    },
    stream: {
      contentTypes: NDJSON,
      status: 200,
      listName: 'results',
      async *handle(request, lines, record) {
        const rest = lines[Symbol.asyncIterator]();
        for await (const results of record.kept()) {
          for (const result of results) {
            if ((await rest.next()).done === true) return {};
            yield result;
          }
        }
        let isKeeping = true;
        const remaining = { [Symbol.asyncIterator]: () => rest };
        for await (const chunk of chunksOf(remaining, ITEM_CONCURRENCY)) {
          const answers = await Promise.all(chunk.map((line) => patchLine(request, line)));
          const results = answers.map(({ result }) => result);
          // What may pass is not kept, nor what comes after it: what is kept has no gaps.
          isKeeping &&= results.every(isFinal);
          if (isKeeping) await record.keep(results);
          yield* results;
        }
        return {};
      },
    },
    answers: { 200: z.object({ results: z.array(bulkResult) }) },
    handle: (request) => answerEach(request.body, (item, index) => patchOne(request, item, index)),
  });

  return [patchMany];
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
