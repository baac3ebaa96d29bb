import { z } from 'zod';
import type { PatchResult, StateCommands } from '../../commands/state/commands.ts';
import type { Json, JsonObject } from '../../shared/json.ts';
import { parseSyntax, validatedBody } from '../body.ts';
import { idField } from '../fields.ts';
import {
  answerEach,
  answerLines,
  itemRefusal,
  ITEMS_LIMIT_BYTES,
  MAX_ITEMS,
  shownId,
  type HandledItem,
} from '../item-results.ts';
import { NDJSON } from '../lines.ts';
import { defineRoute, jsonBody, type ApiRequest, type Line, type Route } from '../route.ts';
import { incomingPatch, patchBody, requireOwnSensor } from './patch-body.ts';

const bulkItem = patchBody.extend({ id: idField });
const bulkBody = z
  .array(z.unknown())
  .max(MAX_ITEMS)
  .meta({
    override: { items: { type: 'object', required: ['id', 'data'] } },
    description: 'Patches: {"id", "data", "message_id"?, "sequence"?, "timestamp"?}',
  });

const EXAMPLE = { id: 'pump-1-temperature', data: { temperature: 21 } };

const bulkResult = z.object({
  id: z.string().nullable(),
  status: z
    .int()
    .meta({ description: 'The status that the item would have had in a request of its own' }),
  revision: z.int().optional(),
  deduplicated: z.string().optional(),
  ...itemRefusal,
});

/** An item as it was sent, or why it could not be read. */
type SentItem =
  | { readonly isRead: true; readonly item: unknown; readonly ordinal: number }
  | { readonly isRead: false; readonly error: unknown };

export function bulkRoutes(commands: StateCommands): Route[] {
  async function patchOne(
    request: ApiRequest<unknown, unknown, unknown>,
    sent: SentItem,
  ): Promise<HandledItem> {
    if (!sent.isRead) throw sent.error;
    const { item, ordinal } = sent;
    const parsed = validatedBody(bulkItem, item as Json);
    requireOwnSensor(request.caller, parsed.id);
    const patched = await commands.patch(
      parsed.id,
      incomingPatch(parsed, request.now),
      request.command({ ordinal, occurredAt: parsed.timestamp }),
    );
    return { result: bulkAnswer(patched), position: patched.position };
  }

  const patchMany = defineRoute({
    method: 'post',
    path: '/sensors/patches',
    operationId: 'patchSensors',
    summary: 'Patch many sensors; an invalid item stops no other',
    tag: 'State',
    access: ['owner', 'member', 'device'],
    body: {
      ...jsonBody(bulkBody, [EXAMPLE]),
      limitBytes: ITEMS_LIMIT_BYTES,
      isCheckedByItem: true,
    },
    stream: {
      contentTypes: NDJSON,
      example: `${JSON.stringify(EXAMPLE)}\n`,
      status: 200,
      listName: 'results',
      handle: (request, lines) =>
        answerLines(request, lines, {
          itemOf,
          named,
          handle: (sent) => patchOne(request, sent),
        }),
    },
    answers: { 200: z.object({ results: z.array(bulkResult) }) },
    handle: (request) =>
      answerEach(
        request,
        request.body.map((item, ordinal): SentItem => ({ isRead: true, item, ordinal })),
        { named, handle: (sent) => patchOne(request, sent) },
      ),
  });

  return [patchMany];
}

function itemOf({ number, text }: Line): SentItem {
  try {
    return { isRead: true, item: parseSyntax(text), ordinal: number };
  } catch (error) {
    return { isRead: false, error };
  }
}

function named(sent: SentItem): JsonObject {
  const item = sent.isRead ? sent.item : undefined;
  const id = typeof item === 'object' && item !== null && 'id' in item ? item.id : null;
  return { id: shownId(id) };
}

function bulkAnswer(patched: PatchResult): JsonObject {
  const revision = Number(patched.revision);
  return patched.outcome === 'deduplicated'
    ? { status: 200, revision, deduplicated: patched.by }
    : { status: 200, revision };
}
