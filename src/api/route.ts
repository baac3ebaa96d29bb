import { z } from 'zod';
import type { CommandGroup } from '../commands/core/command-group.ts';
import type { CommandContext } from '../commands/core/context.ts';
import type { ItemResults } from '../commands/core/stored-results.ts';
import type { ShownKey } from '../commands/core/idempotent-requests.ts';
import type { Positions } from '../event-store/positions.ts';
import type { Position } from '../event-store/port.ts';
import type { ReadOptions } from '../projections/engine/reading/read-models.ts';
import type { EventStream } from '../followers/event-stream.ts';
import type { Filter } from '../followers/selection.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { Entropy } from '../shared/ids.ts';
import type { Json, JsonObject } from '../shared/json.ts';
import type { Caller } from './authentication.ts';
import type { TableColumns } from './csv.ts';
import { asOfQuery } from './fields.ts';

/** Who may call: the installation's admin, members by role, devices. */
export type Access = 'admin' | 'owner' | 'member' | 'viewer' | 'device';

/** How a body may be sent, and what it must be. */
export interface RouteBody<Body> {
  /** Schemas by content type, all JSON; each may transform what was sent into what is handled. */
  readonly content: Readonly<Record<string, z.ZodType<Body>>>;
  /** A valid body for each content type, which the documentation shows. */
  readonly examples: Readonly<Record<string, Json>>;
  readonly limitBytes?: number;
  /** Whether the handler refuses what cannot be kept, item by item. */
  readonly isCheckedByItem?: boolean;
  /** Whether the body may be left out. Then it is `{}`. */
  readonly isOptional?: boolean;
}

/** A body of one JSON value a line, read and answered line by line in bounded memory. */
export interface RouteStream<Params, Query> {
  readonly contentTypes: readonly string[];
  /** Lines that may be sent as they stand. */
  readonly example: string;
  readonly status: number;
  /** What its answer calls the list of what `handle` yields. */
  readonly listName: string;
  /**
   * Yields results, in the order of the lines; gives what else the answer says when the last is
   * read.
   */
  readonly handle: (
    request: ApiRequest<Params, Query, undefined>,
    lines: AsyncIterable<Line>,
  ) => AsyncGenerator<JsonObject, JsonObject>;
}

/**
 * A body that is a table (`text/csv`), handled row by row; it may be as large as an array of as
 * many.
 */
export interface RouteTable<Params, Query> {
  readonly columns: TableColumns;
  readonly example: string;
  /** The body: a row each, which the handler checks. */
  readonly handle: (request: ApiRequest<Params, Query, readonly unknown[]>) => Promise<Answer>;
}

export interface Line {
  /** From 1, blank lines counted. */
  readonly number: number;
  readonly text: string;
}

/**
 * One route: what registers it, documents it, guards it and answers it. The OpenAPI document is
 * made of the very schemas that validate here.
 */
export interface Route<Params = unknown, Query = unknown, Body = unknown> {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** As OpenAPI writes it, below the base path: `/sensors/{id}`. */
  readonly path: string;
  /** Other paths at which it answers the same. */
  readonly aliases?: readonly string[];
  /** The name of the operation in clients that are generated: a verb and a noun, `listDevices`. */
  readonly operationId: string;
  /** What it does, in the imperative: `List the devices of the project, by id`. */
  readonly summary: string;
  readonly tag: string;
  readonly access: readonly Access[];
  readonly params?: z.ZodType<Params>;
  /** Parameters that it does not name are refused. */
  readonly query?: z.ZodObject & z.ZodType<Query>;
  readonly body?: RouteBody<Body>;
  readonly stream?: RouteStream<Params, Query>;
  readonly table?: RouteTable<Params, Query>;
  /** The schema of the body by status; null where there is no body. */
  readonly answers: Readonly<Record<number, z.ZodType | null>>;
  /** What its answers may carry beyond the headers that all have: names, and what they say. */
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * What breaks a rule is `bad-request` here (400), as its clients expect, not `validation-failed`
   * (422).
   */
  readonly isInvalid400?: boolean;
  /** What it answers beyond the errors that every route has. */
  readonly errors?: readonly ErrorCode[];
  /** Answers that carry an ETag, and take If-None-Match. */
  readonly hasEtag?: boolean;
  /** Answers as a table, too, for whoever accepts `text/csv` rather than JSON. */
  readonly hasCsv?: boolean;
  /** Takes `as_of`: it answers as it would have then. The pipeline resolves it, once. */
  readonly takesAsOf?: boolean;
  /** Answers with the events themselves, too, for whoever accepts `text/event-stream`. */
  readonly hasEvents?: boolean;
  /**
   * Which events may change its answer. Then it can be followed: whoever accepts
   * `text/event-stream` gets the answer, and again whenever it changes.
   */
  readonly changedBy?: (params: Params) => AnswerChanges;
  /** Takes `Prefer: wait=<s>` (RFC 7240). */
  readonly takesWait?: boolean;
  /** Takes a CloudEvent in binary mode: its attributes are headers, and the body is its data. */
  readonly takesCloudEvent?: boolean;
  readonly handle: (request: ApiRequest<Params, Query, Body>) => Promise<Answer>;
}

export interface ApiRequest<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly caller: Caller;
  /** The path and query as they were sent: for links. */
  readonly path: string;
  /** What links in the body begin with: the path below which a proxy serves the API. */
  readonly prefix: string;
  /** The caller's project; for the admin, who has none, that of the installation. */
  readonly projectId: string;
  readonly headers: RequestHeaders;
  readonly read: ReadOptions;
  /** What `as_of` stands for, on a route that takes it; undefined: now. */
  readonly asOf: Position | undefined;
  /** The time that `as_of` gave; undefined where it gave a position, or was not sent. */
  readonly asOfTime: Date | undefined;
  readonly positions: Positions;
  /** When it was received, or, for a repetition, when the first was. */
  readonly now: Date;
  readonly entropy: Entropy;
  /** `ordinal` tells apart the commands of one request. */
  readonly command: (options?: {
    ordinal?: number;
    occurredAt?: Date | undefined;
  }) => CommandContext;
  /** The commands of this request. */
  readonly group: CommandGroup;
  /** Where the results of its items are kept, for its repetitions. */
  readonly results: ItemResults;
  /** Whether the client has left: nobody reads the answer, so work that only it is for may end. */
  readonly isClosed: () => boolean;
  /** Logs an error that is not the client's and concerns one item of many. */
  readonly reportError: (error: unknown) => void;
}

/** Which events of the caller's project change the answer. */
export type AnswerChanges = Pick<Filter, 'deviceId' | 'sensorId' | 'batchId'>;

export interface RequestHeaders {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly prefer: string | undefined;
  /** Whether `Accept` wants `text/csv` rather than JSON. */
  readonly isCsvAccepted: boolean;
  /** Whether `Accept` wants `text/event-stream` rather than JSON. */
  readonly isEventStreamAccepted: boolean;
  /** The position that a client of an event stream saw last. */
  readonly lastEventId: string | undefined;
  /** The attributes of a CloudEvent in binary mode, by their names; undefined without one. */
  readonly cloudEvent: Readonly<Record<string, string>> | undefined;
}

export interface Answer {
  readonly status: number;
  readonly body?: Json;
  /** In place of the body: `text/csv`. */
  readonly csv?: string;
  /** In place of the body: Server-Sent Events after `position`, written until the stream ends. */
  readonly events?: (stream: EventStream) => Promise<void>;
  readonly headers?: Readonly<Record<string, string>>;
  /** The position of the rows, or of the command; without it the newest known one. */
  readonly position?: Position;
  /** Holds results that may be others next time (5xx): it is not kept for repetitions. */
  readonly isTransient?: boolean;
  /**
   * It is not kept for repetitions, which make it again: its results were kept item by item, or it
   * shows a secret that is derived again.
   */
  readonly isKeptByItem?: boolean;
  /** Keys to show in the body, which itself holds none: it is kept for repetitions. */
  readonly shownKeys?: readonly ShownKey[];
}

/** A body that is sent as JSON alone, with one that may be sent as it stands. */
export function jsonBody<Body>(schema: z.ZodType<Body>, example: Json): RouteBody<Body> {
  return { content: { 'application/json': schema }, examples: { 'application/json': example } };
}

/** Keeps the types of the schemas together with the handler that they are for. */
export function defineRoute<Params, Query, Body>(route: Route<Params, Query, Body>): Route {
  const own = route.query ?? z.object({});
  const query = (route.takesAsOf === true ? own.extend({ as_of: asOfQuery }) : own).strict();
  return { ...route, query } as unknown as Route;
}

/** `digest`: of what the answer shows beside that revision, in hex. */
export function etag(revision: bigint, digest?: string): string {
  return digest === undefined ? `"${revision}"` : `"${revision}-${digest.slice(0, 16)}"`;
}

export function jsonTime(time: Date | null): string | null {
  return time?.toISOString() ?? null;
}
