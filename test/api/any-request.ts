import fc from 'fast-check';
import type { Json, JsonObject } from '../../src/shared/json.ts';
import { anyJsonObject } from '../shared/any-json.ts';
import { BASE, type Method, type SendOptions } from './api-client.ts';
import type { Content, OpenApiDocument, Operation } from './openapi-answers.ts';

export interface AnyRequest {
  readonly method: Method;
  readonly path: string;
  readonly options: SendOptions;
}

/** The part of JSON Schema that values are made of here. */
interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly const?: Json;
  readonly enum?: readonly Json[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** Text that has broken something somewhere before. */
const AWKWARD_TEXTS = `
  a|s1|d1|0|-1|1e9|1024|null|true|__proto__|constructor|a/b|..|.|%|%00|*|{id}|'"\\;--|💡|ü|none|
  window|00000000-1|99999999999999999999|9223372036854775807|-9223372036854775808|FFA45722AA738240|
  2022-02-18T00:00:00Z|0000-01-01T00:00:00Z|9999-12-31T23:59:59-12:00`
  .split('|')
  .map((text) => text.trim())
  .concat('', ' ', '\n', '\u0000', '\ud800')
  .concat('x'.repeat(256), 'x'.repeat(257), '💡'.repeat(256));

const awkwardText = fc.oneof(
  fc.constantFrom(...AWKWARD_TEXTS),
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'binary', maxLength: 6 }),
);

const awkwardNumber = fc.oneof(
  fc.constantFrom(0, -0, -1, 1, 0.5, 1e308, 5e-324, 2 ** 53, -(2 ** 63), 1e15, 253_402_300_799),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);

const awkwardJson: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json[]>(null, true, false, [], {}),
  awkwardText,
  awkwardNumber,
  anyJsonObject,
  fc.array(anyJsonObject, { maxLength: 3 }),
);

/** What goes over the wire as a path segment: percent-encoded, or broken on the way. */
const segment = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('s1', 'd1') },
  { weight: 6, arbitrary: awkwardText.map((text) => encodeURIComponent(text.toWellFormed())) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('%', '%zz', '%ff', '%ed%a0%80', '%c0%80', '%2', '..', ''),
  },
);

/** Headers that every method may meet; values are what Node lets through at all. */
const headerText = fc
  .oneof(awkwardText, fc.constantFrom('*', '"0"', 'W/"0"', '"0", "1"', 'gzip', 'application/json'))
  .map((text) => text.replace(/[^\t\u0020-\u007e\u0080-\u00ff]/g, ''));
const someHeaders = fc
  .record(
    {
      'if-match': headerText,
      'if-none-match': headerText,
      'idempotency-key': fc.oneof(headerText, fc.constantFrom('k1', 'k2', 'k3')),
      'fleetledger-min-position': headerText,
      'x-correlation-id': headerText,
      accept: headerText,
      prefer: headerText,
      'content-encoding': fc.constantFrom('gzip', 'identity', 'x'),
    },
    { requiredKeys: [] },
  )
  // Most requests have none of them: else nearly all would be refused for one.
  .chain((headers) => fc.constantFrom({}, {}, {}, headers));

/** A request to an operation of the document, near to what it takes or far from it. */
export function anyRequest(document: OpenApiDocument): fc.Arbitrary<AnyRequest> {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const methods: Method[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'];
  return fc.constantFrom(...operations).chain(({ path, method, operation }) =>
    fc.record({
      method: fc.oneof(
        { weight: 15, arbitrary: fc.constant(method.toUpperCase() as Method) },
        { weight: 1, arbitrary: fc.constantFrom(...methods) },
      ),
      path: fc
        .tuple(pathOf(path), queryOf(operation))
        .map(([filled, query]) => filled + (query === '' ? '' : `?${query}`)),
      options: fc
        .tuple(bodyOf(document, operation), someHeaders)
        .map(([body, headers]) => ({ ...body, headers: { ...body.headers, ...headers } })),
    }),
  );
}

function pathOf(template: string): fc.Arbitrary<string> {
  const whole = fc
    .tuple(
      ...template.split('/').map((part) => (part.startsWith('{') ? segment : fc.constant(part))),
    )
    .map((parts) => parts.join('/'));
  const longer = fc.tuple(whole, segment).map((parts) => parts.join('/'));
  return fc
    .oneof({ weight: 12, arbitrary: whole }, { weight: 1, arbitrary: longer })
    .filter((path) => !path.startsWith('//') && new URL(BASE + path, 'http://x').host === 'x');
}

function queryOf({ parameters = [] }: Operation): fc.Arbitrary<string> {
  const names = parameters.filter((parameter) => parameter.in === 'query').map(({ name }) => name);
  const pair = fc
    .tuple(fc.constantFrom(...names, 'other', '__proto__', 'limit'), awkwardText)
    .map(([name, value]) => `${name}=${encodeURIComponent(value.toWellFormed())}`);
  return fc
    .oneof(
      { weight: 3, arbitrary: fc.constant([]) },
      { weight: 2, arbitrary: fc.array(pair, { maxLength: 3 }) },
      { weight: 1, arbitrary: fc.constantFrom(['%ff'], ['a=%zz'], ['&&='], ['limit[]=1']) },
    )
    .map((pairs) => pairs.join('&'));
}

function bodyOf(document: OpenApiDocument, { requestBody }: Operation): fc.Arbitrary<SendOptions> {
  const none = fc.constant<SendOptions>({});
  if (requestBody === undefined) return none;
  const good = Object.entries(requestBody.content).map(([type, content]) =>
    goodBodyOf(document, type, content).map((body): SendOptions => ({
      body,
      headers: { 'content-type': type },
    })),
  );
  const bad = fc.record({
    body: fc.oneof(
      awkwardJson.map((value) => JSON.stringify(value)),
      fc.constantFrom('', '{', '{"data":{"a":1e999}}', '"\\ud800"', '[[[[[[', '{}{}'),
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    ),
    headers: fc.record({
      'content-type': fc.constantFrom(
        ...Object.keys(requestBody.content),
        'text/plain',
        'application/json; charset=latin1',
        '',
      ),
    }),
  });
  return fc.oneof(
    { weight: 9, arbitrary: fc.oneof(...good) },
    { weight: 2, arbitrary: bad },
    { weight: 1, arbitrary: none },
  );
}

function goodBodyOf(
  document: OpenApiDocument,
  type: string,
  { schema, example }: Content[string],
): fc.Arbitrary<string> {
  if (type === 'text/csv') return tableLike(String(example));
  return type.endsWith('json') && !/nd-?json|jsonl/.test(type)
    ? valueOf(document, schema).map((value) => JSON.stringify(value))
    : fc.array(awkwardJson, { maxLength: 4 }).map(asLines);
}

/** Rows below the header of the example: of its cells, and of awkward ones, quoted or not. */
function tableLike(example: string): fc.Arbitrary<string> {
  const [header = '', ...rows] = example.trim().split('\n');
  const awkward = awkwardText.map((text) => text.toWellFormed());
  const cell = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...rows.flatMap((row) => row.split(','))) },
    { weight: 2, arbitrary: awkward.map((text) => `"${text.replaceAll('"', '""')}"`) },
    { weight: 1, arbitrary: awkward },
  );
  const width = header.split(',').length;
  const row = fc.oneof(
    { weight: 5, arbitrary: fc.array(cell, { minLength: width, maxLength: width }) },
    { weight: 1, arbitrary: fc.array(cell, { maxLength: 5 }) },
  );
  return fc
    .array(row, { maxLength: 4 })
    .map((cells) => [header, ...cells.map((texts) => texts.join(','))].join('\n'));
}

function asLines(values: readonly Json[]): string {
  return values.map((value) => `${JSON.stringify(value)}\n`).join('');
}

/** A value that the schema takes, but for what is broken in one place now and then. */
function valueOf(document: OpenApiDocument, schema: Schema): fc.Arbitrary<Json> {
  return fc.oneof(
    { weight: 30, arbitrary: validValueOf(document, schema) },
    { weight: 1, arbitrary: awkwardJson },
  );
}

function validValueOf(document: OpenApiDocument, schema: Schema): fc.Arbitrary<Json> {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split('/').at(-1) ?? '';
    return valueOf(document, document.components.schemas[name] as Schema);
  }
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) {
    return fc.oneof(...choices.map((choice) => valueOf(document, choice)));
  }
  switch (schema.type) {
    case 'object':
      return objectOf(document, schema);
    case 'array':
      return fc.array(valueOf(document, schema.items ?? {}), { maxLength: 4 });
    case 'string':
      if (schema.format === 'date-time') return fc.date({ noInvalidDate: true }).map(iso);
      return schema.pattern === undefined
        ? awkwardText
        : fc.stringMatching(new RegExp(schema.pattern));
    case 'integer':
    case 'number':
      return fc.oneof(awkwardNumber, anyIntegerFrom(schema.minimum ?? 0));
    case 'boolean':
      return fc.boolean();
    case undefined:
    default:
      return awkwardJson;
  }
}

function objectOf(
  document: OpenApiDocument,
  { properties, required = [] }: Schema,
): fc.Arbitrary<JsonObject> {
  if (properties === undefined) {
    const named = fc.record({ id: awkwardText, data: anyJsonObject });
    return required.length > 0 ? named : anyJsonObject;
  }
  const fields = Object.entries(properties).map(
    ([name, schema]) => [name, valueOf(document, schema)] as const,
  );
  return fc.record(Object.fromEntries(fields), {
    requiredKeys: [...required],
  });
}

function iso(date: Date): string {
  return date.toISOString();
}

function anyIntegerFrom(min: number): fc.Arbitrary<number> {
  return fc.integer({ min, max: Math.max(min, 1_000) });
}
