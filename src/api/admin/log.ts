import { z } from 'zod';
import type { Positions } from '../../event-store/positions.ts';
import { recordedBody } from '../../event-store/recorded-json.ts';
import type { LogReader } from '../../event-store/log-reader.ts';
import { momentQuery, timeAnswer } from '../fields.ts';
import { cursorPage, cursorQuery, placeAfterPosition, walkPage } from '../paging.ts';
import { defineRoute, type Route } from '../route.ts';
import { refusedAt } from '../validation.ts';

const object = z.record(z.string(), z.unknown());
const recordedAnswer = z
  .object({
    position: z.string(),
    stream: z.string(),
    revision: z.int(),
    event_id: z.string(),
    type: z.string(),
    data: object,
    metadata: object,
    recorded_at: timeAnswer,
  })
  .meta({ id: 'RecordedEvent' });

const logQuery = cursorQuery.extend({
  stream: z.string().min(1).optional().meta({
    description: 'The full name of one stream, for example `sensor-acme.s1`',
  }),
  type: z
    .string()
    .min(1)
    .transform((types) => types.split(','))
    .optional()
    .meta({ description: 'Event types, separated by commas: `SensorPatched,SimAssigned`' }),
  from: momentQuery(
    'An RFC 3339 time, a date (the start of that day in UTC) or a position, inclusive',
  ),
  to: momentQuery(
    'An RFC 3339 time, a date (the end of that day in UTC), or a position; itself included',
  ),
  correlation_id: z.string().min(1).optional(),
});

/** A walk in one stream resumes at a revision, so that it does not read earlier events again. */
const placeInLog = placeAfterPosition.extend({
  revision: z
    .string()
    .regex(/^\d{1,18}$/)
    .optional(),
});

export function logRoutes(log: LogReader, positions: Positions): Route[] {
  const read = defineRoute({
    method: 'get',
    path: '/admin/log',
    operationId: 'listLogEvents',
    summary: 'List the events of the log, oldest first',
    tag: 'Administration',
    access: ['admin'],
    query: logQuery,
    answers: { 200: cursorPage(recordedAnswer) },
    async handle(request) {
      const { stream, type: types, from, to, correlation_id: correlationId } = request.query;
      const head = await log.head();
      const after = await positions.before(from).catch(refusedAt('query.from'));
      const until =
        to === undefined ? head : (await positions.asOf(to).catch(refusedAt('query.to'))).position;
      return walkPage(request, {
        name: `log:${stream ?? ''}`,
        place: placeInLog,
        rows: async (limit, place) => ({
          value: await firstOf(
            limit,
            log.read(
              { stream, types, correlationId, after: place?.after ?? after, until },
              place?.revision === undefined ? 0n : BigInt(place.revision),
            ),
          ),
          position: head,
        }),
        item: (event) => recordedBody(event, positions),
        placeOf: (last) => ({
          after: last.position,
          ...(stream !== undefined && { revision: (last.revision + 1n).toString() }),
        }),
      });
    },
  });

  return [read];
}

async function firstOf<Item>(limit: number, items: AsyncIterable<Item>): Promise<Item[]> {
  const first: Item[] = [];
  for await (const item of items) {
    first.push(item);
    if (first.length === limit) break;
  }
  return first;
}
