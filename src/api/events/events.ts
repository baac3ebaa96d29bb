import { z } from 'zod';
import { BEGINNING, type Position } from '../../event-store/port.ts';
import type { Positions } from '../../event-store/positions.ts';
import { publishedDomains, publishedTypes } from '../../events/published.ts';
import type { EntryPage, Followers } from '../../followers/followers.ts';
import type { OpenStreams } from '../../followers/open-streams.ts';
import type { Filter } from '../../followers/selection.ts';
import { closestName } from '../../shared/closest-name.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { Authentication, Caller } from '../authentication.ts';
import { waitPreference } from '../deveui/wait-preference.ts';
import { idField, momentQuery, projectIdField, timeAnswer } from '../fields.ts';
import {
  cursorPage,
  cursorQuery,
  pageAnswer,
  placeAfterPosition,
  placeInWalk,
  withinSize,
} from '../paging.ts';
import { defineRoute, type Answer, type ApiRequest, type Route } from '../route.ts';
import { refusedAt } from '../validation.ts';

export interface EventRoutesParts {
  readonly followers: Followers;
  readonly streams: OpenStreams;
  readonly authentication: Authentication;
  readonly positions: Positions;
}

const eventAnswer = z
  .object({
    position: z.string().meta({ description: 'Where it is in the log' }),
    event_id: z.string(),
    type: z.string(),
    domain: z.enum(publishedDomains),
    stream: z.string(),
    revision: z.int().meta({ description: 'Its place in its stream, from 0' }),
    subject: z.string().meta({
      description: 'What it is about, as a path below /api/v1, for example `sensors/pump-1`',
    }),
    occurred_at: timeAnswer.nullable(),
    recorded_at: timeAnswer,
    actor: z.string().meta({ description: 'The id of the key, or system:<part>' }),
    data: z.record(z.string(), z.unknown()).meta({ description: 'What the event says' }),
  })
  .meta({ id: 'LedgerEvent' });

const listOf = (known: readonly string[], what: string, example: string) =>
  z
    .string()
    .transform((text) => text.split(',').map((name) => name.trim()))
    .superRefine((names, context) => {
      const unknown = names.find((name) => !known.includes(name));
      if (unknown === undefined) return;
      const closest = closestName(unknown, known);
      const advice =
        closest === undefined ? `known are ${known.join(', ')}` : `did you mean '${closest}'?`;
      context.addIssue(`names '${unknown.slice(0, 64)}', which is no ${what}: ${advice}`);
    })
    .optional()
    .meta({
      description: `Names with commas between them, for example \`${example}\``,
      override: { type: 'string' },
    });

const eventsQuery = cursorQuery.extend({
  after: momentQuery(
    'Events after this: a Fleetledger-Position, an RFC 3339 time, or a date (after its end in UTC)',
  ),
  types: listOf(publishedTypes, 'type of event', 'SensorPatched,FirmwareReported'),
  domains: listOf(publishedDomains, 'domain', 'state,firmware'),
  device_id: idField.optional().meta({
    description: 'Events about this device, and about what was linked to it at the time',
  }),
  sensor_id: idField.optional(),
});

const adminEventsQuery = eventsQuery.extend({ project: projectIdField.optional() });

type EventsRequest = ApiRequest<unknown, z.infer<typeof eventsQuery>, unknown>;

export function eventRoutes(parts: EventRoutesParts): Route[] {
  const common = {
    method: 'get',
    tag: 'Events',
    hasEvents: true,
    takesWait: true,
    answers: { 200: cursorPage(eventAnswer) },
  } as const;
  const ofProject = defineRoute({
    ...common,
    operationId: 'listEvents',
    path: '/events',
    summary: 'List or stream the events of the project, oldest first',
    access: ['owner', 'member', 'viewer', 'device'],
    query: eventsQuery,
    handle: (request) => answerEvents(parts, request, projectFilter(request)),
  });
  const ofAll = defineRoute({
    ...common,
    operationId: 'listAllEvents',
    path: '/admin/events',
    summary: 'List or stream the events of all projects, oldest first',
    access: ['admin'],
    query: adminEventsQuery,
    handle: (request) => {
      const { project: projectId } = request.query;
      return answerEvents(parts, request, { projectId, isOwner: true, ...filterIn(request) });
    },
  });
  return [ofProject, ofAll];
}

function projectFilter(request: EventsRequest): Filter {
  const { caller, projectId } = request;
  const filter = { projectId, isOwner: isOwner(caller), ...filterIn(request) };
  if (caller.kind !== 'device') return filter;
  const { deviceId } = caller;
  if (filter.deviceId === undefined || filter.deviceId === deviceId) {
    return { ...filter, deviceId };
  }
  throw new LedgerError(
    'forbidden',
    'A device key reads the events of its own device only: use a member key.',
  );
}

function isOwner(caller: Caller): boolean {
  return caller.kind === 'member' && caller.role === 'owner';
}

function filterIn({
  query,
}: EventsRequest): Pick<Filter, 'types' | 'domains' | 'deviceId' | 'sensorId'> {
  const { types, domains, device_id: deviceId, sensor_id: sensorId } = query;
  return {
    types,
    domains: publishedDomains.filter((domain) => domains?.includes(domain) ?? true),
    deviceId,
    sensorId,
  };
}

async function answerEvents(
  parts: EventRoutesParts,
  request: EventsRequest,
  filter: Filter,
): Promise<Answer> {
  const { positions, headers } = request;
  if (!headers.isEventStreamAccepted) return await answerPage(parts, request, filter);
  const after =
    headers.lastEventId === undefined
      ? ((await positionAfter(request)) ?? (await parts.followers.head()))
      : await positions.parse(headers.lastEventId).catch(refusedAt('header.Last-Event-ID'));
  return {
    status: 200,
    position: after,
    events: (stream) => parts.followers.stream(stream, filter, after),
  };
}

async function positionAfter({ query, positions }: EventsRequest): Promise<Position | undefined> {
  const { after } = query;
  if (after === undefined) return undefined;
  return (await positions.asOf(after).catch(refusedAt('query.after'))).position;
}

const WALK = 'events';

/** `Fleetledger-Position` says how far the page goes: `after` that, the next event is the first. */
async function answerPage(
  parts: EventRoutesParts,
  request: EventsRequest,
  filter: Filter,
): Promise<Answer> {
  const { query, headers } = request;
  const place = await placeInWalk(request, WALK, placeAfterPosition);
  const after = place?.after ?? (await positionAfter(request)) ?? BEGINNING;
  const waitSeconds = waitPreference(headers.prefer);
  const page = await pageWithin(parts, request, waitSeconds ?? 0, {
    filter,
    after,
    limit: query.limit,
  });
  const items = withinSize(page.entries.map((entry) => parts.followers.shown(entry)));
  const isCut = items.length < page.entries.length;
  const position = (isCut ? page.entries[items.length - 1]?.position : undefined) ?? page.position;
  const next = isCut || page.hasMore ? { after: position } : undefined;
  const answer = pageAnswer(request, WALK, { items, next, position });
  return waitSeconds === undefined
    ? answer
    : { ...answer, headers: { ...answer.headers, 'Preference-Applied': `wait=${waitSeconds}` } };
}

const LEFT_POLL_MS = 500;

async function pageWithin(
  { followers, streams, authentication }: EventRoutesParts,
  { caller, isClosed }: EventsRequest,
  waitSeconds: number,
  query: { readonly filter: Filter; readonly after: Position; readonly limit: number },
): Promise<EntryPage> {
  if (waitSeconds === 0) return await followers.page(query);
  const ending = new AbortController();
  const end = (): void => ending.abort();
  const isAllowed = (): Promise<boolean> => authentication.isStillValid(caller);
  const done = streams.wait(caller, isAllowed, end);
  const timer = setTimeout(end, waitSeconds * 1_000);
  const poll = setInterval(() => isClosed() && end(), LEFT_POLL_MS);
  try {
    const page = await followers.nextPage({ ...query, signal: ending.signal });
    if (await isAllowed()) return page;
    throw new LedgerError('unauthenticated', 'The key was revoked while the request waited.');
  } finally {
    done();
    clearTimeout(timer);
    clearInterval(poll);
  }
}
