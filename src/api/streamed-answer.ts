import type { JsonObject } from '../shared/json.ts';
import { limitFor, STREAM_LIMITS } from './admission/limits.ts';
import type { AdmittedRequest } from './admitted-request.ts';
import { refuseDeclaredLength } from './encoding.ts';

/** @throws LedgerError `body-too-large` */
export function streamLimitBytes({ caller, request }: AdmittedRequest): number {
  const limitBytes = limitFor(caller, STREAM_LIMITS.bytes);
  refuseDeclaredLength(request, limitBytes);
  return limitBytes;
}

/** The text of the answer: the list, then what else is known at its end. */
export async function* documentOf(
  listName: string,
  results: AsyncGenerator<JsonObject, JsonObject>,
): AsyncIterable<string> {
  yield `{${JSON.stringify(listName)}:[`;
  let more: JsonObject = {};
  // A reader that stops early closes the generator, and with it what the results are read from.
  async function* items(): AsyncIterable<JsonObject> {
    more = yield* results;
  }
  let separator = '';
  for await (const item of items()) {
    yield separator + JSON.stringify(item);
    separator = ',';
  }
  const rest = JSON.stringify(more).slice(1, -1);
  yield rest === '' ? ']}' : `],${rest}}`;
}
