import fc from 'fast-check';
import type { Json, JsonObject } from '../../src/shared/json.ts';

/** Few keys, so that objects often share them; some of them reach a prototype if they are let. */
const key = fc.constantFrom('a', 'b', 'c', '__proto__', 'constructor', 'valueOf', 'toString');
const scalar = fc.constantFrom<Json[]>(null, false, 0, 1, 'x', '', '\u0000\u001e', '\ud83d');

const { object } = fc.letrec<{ value: Json; object: JsonObject }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    scalar,
    tie('object'),
    fc.array(tie('value'), { maxLength: 3 }),
  ),
  object: fc
    .array(fc.tuple(key, tie('value')), { maxLength: 4 })
    .map((entries) => Object.fromEntries(entries)),
}));

/** A JSON object as an attacker, or only a client with unusual names, may send it. */
export const anyJsonObject: fc.Arbitrary<JsonObject> = object;
