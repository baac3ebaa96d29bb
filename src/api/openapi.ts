import { z } from 'zod';
import { createDocument, type oas31 } from 'zod-openapi';
import { errorTable, type ErrorCode } from '../shared/errors.ts';
import { CSV, CSV_TYPES } from './csv.ts';
import { EVENT_STREAM } from './event-stream-type.ts';
import { POSITION_PATTERN } from './fields.ts';
import { problemType, statusOf } from './problem.ts';
import type { Route, RouteTable } from './route.ts';

const COMMON_ERRORS: readonly ErrorCode[] = [
  'bad-request',
  'request-timeout',
  'headers-too-large',
  'unauthenticated',
  'forbidden',
  'validation-failed',
  'position-of-another-log',
  'read-model-behind',
  'read-too-slow',
  'newer-event-version',
  'store-unavailable',
  'too-many-requests',
  'overloaded',
  'shutting-down',
  'internal-error',
];
const BODY_ERRORS: readonly ErrorCode[] = [
  'malformed-json',
  'unsupported-media-type',
  'body-too-large',
];

/**
 * Entity tags (RFC 9110, section 8.8.3), or any: an ETag is a revision, with or without a digest.
 */
const TAGS_PATTERN = '^(\\*|(W/)?"[^"]*"(\\s*,\\s*(W/)?"[^"]*")*)$';

const problemSchema = z
  .object({
    type: z.string().meta({ description: 'A URI that explains the code' }),
    title: z.string(),
    status: z.int(),
    detail: z.string().meta({ description: 'What is wrong, and what to send instead' }),
    code: z.string(),
    instance: z.string(),
    correlation_id: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
    conflicting: z
      .object({ kind: z.string(), id: z.string() })
      .optional()
      .meta({ description: 'The resource that conflicts; `Location` is its address' }),
  })
  .meta({ id: 'Problem', description: 'RFC 9457' });

/** The OpenAPI 3.1 document, made of the schemas that the routes validate with. */
export function openApiDocument(routes: readonly Route[], basePath: string): oas31.OpenAPIObject {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    (paths[route.path] ??= {})[route.method] = operation(route, route.operationId);
    for (const [index, alias] of (route.aliases ?? []).entries()) {
      const id = `${route.operationId}Alias${index === 0 ? '' : index + 1}`;
      (paths[alias] ??= {})[route.method] = operation(route, id);
    }
  }
  return createDocument({
    openapi: '3.1.1',
    info: {
      title: 'Fleetledger',
      version: '1',
      description: 'The ledger of an IoT fleet: events in, read models out.',
    },
    servers: [{ url: basePath }],
    security: [{ bearer: [] }, { deviceKey: [] }, { memberKey: [] }],
    paths,
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'fl_<kind>_<id>_<secret>' },
        deviceKey: { type: 'apiKey', in: 'header', name: 'X-Device-Api-Key' },
        memberKey: { type: 'apiKey', in: 'header', name: 'X-Project-Membership-Api-Key' },
      },
    },
  });
}

function operation(route: Route, id: string): unknown {
  const content: Record<string, object> = Object.fromEntries(
    Object.entries(route.body?.content ?? {}).map(([type, schema]) => [
      type,
      { schema, example: route.body?.examples[type] },
    ]),
  );
  for (const type of route.stream?.contentTypes ?? []) {
    const schema = z.string().meta({ description: 'One JSON value per line' });
    content[type] = { schema, example: route.stream?.example };
  }
  if (route.table !== undefined) {
    for (const type of CSV_TYPES) content[type] = tableContent(route.table);
  }
  return {
    operationId: id,
    summary: route.summary,
    description: `Allowed keys: ${route.access.join(', ')}.`,
    tags: [route.tag],
    requestParams: {
      ...(route.params !== undefined && { path: route.params }),
      ...(route.query !== undefined && { query: route.query }),
      header: requestHeaders(route),
    },
    ...(route.body !== undefined && {
      requestBody: { required: route.body.isOptional !== true, content },
    }),
    responses: { ...answers(route), ...problems(route) },
  };
}

function tableContent({ columns, example }: RouteTable<unknown, unknown>): object {
  const optional =
    columns.optional.length > 0 ? `, and may name ${columns.optional.join(', ')}` : '';
  const description = `RFC 4180. Its first row names ${columns.needed.join(', ')}${optional}.`;
  return { schema: z.string().meta({ description }), example };
}

/** A CloudEvent in binary mode (CloudEvents HTTP binding 1.0, section 3.1). */
const CLOUD_EVENT_HEADERS = {
  'ce-specversion': z.literal('1.0').optional().meta({
    description: 'Binary mode: the body is the data of a CloudEvent, whose attributes are headers',
  }),
  'ce-id': z
    .string()
    .optional()
    .meta({ description: 'Records with the same `ce-source` and `ce-id` count once' }),
  'ce-source': z.string().optional(),
  'ce-type': z.string().optional(),
  'ce-time': z
    .string()
    .optional()
    .meta({ description: 'The time of use, if the record has no `date`' }),
};

function requestHeaders({
  method,
  hasEtag,
  hasEvents,
  takesWait,
  takesCloudEvent,
}: Route): z.ZodObject {
  return z.object({
    'Fleetledger-Min-Position': z
      .string()
      .optional()
      .meta({
        description:
          'The answer is at least of this position, as an answer gave it in Fleetledger-Position',
        override: { type: 'string', pattern: `^${POSITION_PATTERN}$` },
      }),
    ...(method === 'post' && {
      'Idempotency-Key': z.string().min(1).max(255).optional().meta({
        description: 'A request that is repeated with the same key gets the first answer again',
      }),
    }),
    ...(takesCloudEvent === true && CLOUD_EVENT_HEADERS),
    ...(takesWait === true && {
      Prefer: z
        .string()
        .optional()
        .meta({ description: '`wait=<s>`: wait up to s seconds for the batch to end (RFC 7240)' }),
    }),
    ...(hasEvents === true && {
      'Last-Event-ID': z
        .string()
        .optional()
        .meta({
          description: 'Of an event stream: the id of the last event that was received',
          override: { type: 'string', pattern: `^${POSITION_PATTERN}$` },
        }),
    }),
    ...(hasEtag === true && {
      'If-None-Match': z
        .string()
        .optional()
        .meta({
          description:
            method === 'get'
              ? 'An ETag; answers 304 while it is current'
              : '`*`: only if the resource does not exist',
          override: { type: 'string', pattern: TAGS_PATTERN },
        }),
    }),
    ...(hasEtag === true &&
      method !== 'get' && {
        'If-Match': z
          .string()
          .optional()
          .meta({
            description: 'An ETag: only if it is current, otherwise 412',
            override: { type: 'string', pattern: TAGS_PATTERN },
          }),
      }),
  });
}

function answers(route: Route): Record<string, unknown> {
  const isPaged = 'cursor' in (route.query instanceof z.ZodObject ? route.query.shape : {});
  const headers = z.object({
    ...COMMON_HEADERS,
    ...(route.hasEtag === true && { ETag: z.string().optional() }),
    ...(isPaged && {
      Link: z.string().optional().meta({ description: 'The next page (RFC 8288)' }),
    }),
    ...(route.method === 'post' && {
      'Idempotency-Replayed': z
        .literal('true')
        .optional()
        .meta({ description: '`true` if this is the answer to an earlier request' }),
    }),
    ...(route.takesWait === true && {
      'Preference-Applied': z
        .string()
        .optional()
        .meta({ description: 'The wait that was granted' }),
    }),
    ...Object.fromEntries(
      Object.entries(route.headers ?? {}).map(([name, description]) => [
        name,
        z.string().optional().meta({ description }),
      ]),
    ),
  });
  const entries = Object.entries(route.answers).map(([status, schema]) => [
    status,
    {
      description: status === '204' ? 'Done' : 'The answer',
      headers,
      ...(schema !== null && {
        content: {
          'application/json': { schema },
          ...(route.hasCsv === true && { [CSV]: { schema: z.string() } }),
          ...(isStreamed(route) && { [EVENT_STREAM]: { schema: z.string() } }),
        },
      }),
    },
  ]);
  if (route.hasEtag === true && route.method === 'get') {
    entries.push(['304', { description: 'Not modified', headers }]);
  }
  return Object.fromEntries(entries) as Record<string, unknown>;
}

function isStreamed({ hasEvents, changedBy }: Route): boolean {
  return hasEvents === true || changedBy !== undefined;
}

const RATE_LIMIT_HEADERS = {
  'RateLimit-Policy': z
    .string()
    .optional()
    .meta({ description: 'The quota of the key: `"key";q=1000;w=1` is 1,000 requests per second' }),
  RateLimit: z.string().optional().meta({
    description: 'What remains of the quota, and seconds until it resets: `"key";r=998;t=1`',
  }),
};

const COMMON_HEADERS = {
  ...RATE_LIMIT_HEADERS,
  'Fleetledger-Position': z
    .string()
    .meta({ description: 'The position of the log that the answer is of' }),
  'X-Correlation-Id': z.string().meta({ description: 'The id of the request in logs and events' }),
};

/** A refusal before a key was accepted has no position, which strangers must not learn. */
function problemHeaders(status: number): z.ZodObject {
  const { 'Fleetledger-Position': position, ...others } = COMMON_HEADERS;
  return z.object({
    ...others,
    ...(status !== 401 && { 'Fleetledger-Position': position.optional() }),
    ...(status === 401 && { 'WWW-Authenticate': z.string() }),
    ...(status === 409 && { Location: z.string().optional() }),
    ...((status === 429 || status === 503) && {
      'Retry-After': z.string().meta({ description: 'Seconds to wait before a retry' }),
    }),
  });
}

/** One response for each status, which lists the codes that it may carry. */
function problems(route: Route): Record<string, unknown> {
  const codes = new Set<ErrorCode>([
    ...COMMON_ERRORS.map((code) =>
      code === 'validation-failed' && route.isInvalid400 === true ? ('bad-request' as const) : code,
    ),
    ...(route.body === undefined ? [] : BODY_ERRORS),
    ...(route.table === undefined ? [] : (['malformed-csv'] as const)),
    ...(route.method === 'post' ? (['idempotency-key-reused'] as const) : []),
    ...(route.errors ?? []),
  ]);
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of codes) {
    const status = statusOf[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, list]) => [
      String(status),
      {
        description: list.map((code) => `\`${code}\`: ${errorTable[code]}`).join('; '),
        headers: problemHeaders(status),
        content: {
          'application/problem+json': {
            schema: problemSchema,
            examples: Object.fromEntries(
              list.map((code) => [code, { summary: errorTable[code], value: example(code) }]),
            ),
          },
        },
      },
    ]),
  );
}

function example(code: ErrorCode): z.infer<typeof problemSchema> {
  return {
    type: problemType(code),
    title: errorTable[code],
    status: statusOf[code],
    detail: '…',
    code,
    instance: '/api/v1/…',
    correlation_id: '5a0f2f2e-8a9b-4d3e-9a51-0b1c2d3e4f50',
  };
}
