import type { Position } from '../../event-store/port.ts';
import type { Positions } from '../../event-store/positions.ts';
import type { EventStream } from '../../followers/event-stream.ts';
import type { Followers } from '../../followers/followers.ts';
import type { OpenStreams } from '../../followers/open-streams.ts';
import { isTransient, LedgerError } from '../../shared/errors.ts';
import { isSameJson } from '../../shared/json.ts';
import { sleep } from '../../shared/sleep.ts';
import type { AdmittedRequest } from '../admitted-request.ts';
import type { Authentication } from '../authentication.ts';
import { isEventStreamAccepted } from '../event-stream-type.ts';
import type { QueryTexts } from '../query-text.ts';
import type { Responder } from '../responder.ts';
import type { Answer } from '../route.ts';
import { invalid } from '../validation.ts';

export interface EventAnswersParts {
  readonly followers: Followers;
  readonly streams: OpenStreams;
  readonly authentication: Authentication;
  readonly positions: Positions;
  readonly responder: Responder;
}

/** Reads an answer again, at least as of a position. */
type ReadAgain = (minPosition: Position) => Promise<Answer>;

/** An answer is read again at most so often, however many events come. */
const READ_AGAIN_MS = 250;
/** A client whose stream failed comes back after this time. */
const RETRY_MS = 1_000;

/** Whether an answer is events, or is to be given again whenever it changes. */
export function isStreamed({ route, request }: AdmittedRequest, answer: Answer): boolean {
  if (answer.events !== undefined) return true;
  return route.changedBy !== undefined && isEventStreamAccepted(request);
}

/** Sends answers as Server-Sent Events, until the client leaves or may see no more. */
export class EventAnswers {
  readonly #parts: EventAnswersParts;

  constructor(parts: EventAnswersParts) {
    this.#parts = parts;
  }

  /**
   * Sends the events of an answer; or the answer itself, and again whenever an event has changed
   * it.
   * @throws LedgerError `overloaded`, `shutting-down`, `validation-failed`; then nothing was sent
   */
  async send(admitted: AdmittedRequest, answer: Answer, readAgain: ReadAgain): Promise<void> {
    const { streams, authentication, positions, responder } = this.#parts;
    const { request, response, caller, correlationId } = admitted;
    refuseInStream(admitted.sentQuery, answer.events === undefined ? PAST : PAGES);
    const position = answer.position ?? (await this.#parts.followers.head());
    if (request.method === 'HEAD') {
      responder.beginEvents(response, { correlationId, position });
      response.end();
      return;
    }
    const stream = streams.open(
      response,
      caller,
      () => authentication.isStillValid(caller),
      positions.format(position),
    );
    responder.beginEvents(response, { correlationId, position });
    stream.open();
    try {
      if (answer.events !== undefined) await answer.events(stream);
      else await this.#follow(stream, admitted, { answer, position, readAgain });
    } catch (error) {
      if (!stream.signal.aborted) responder.log(error, correlationId);
    } finally {
      stream.end('failed', RETRY_MS);
    }
  }

  async #follow(
    stream: EventStream,
    { route, params, caller }: AdmittedRequest,
    first: {
      readonly answer: Answer;
      readonly position: Position;
      readonly readAgain: ReadAgain;
    },
  ): Promise<void> {
    const filter = { projectId: caller.projectId, isOwner: true, ...route.changedBy?.(params) };
    let { answer, position } = first;
    const { readAgain } = first;
    let readAtMs = performance.now();
    await this.#write(stream, answer, position);
    const { signal } = stream;
    const following = this.#parts.followers.changes(filter, position, signal);
    const changes = following[Symbol.asyncIterator]();
    // The next change may fail long before it is waited for: unhandled, that would end the process.
    const nextChange = (): Promise<IteratorResult<Position>> => {
      const next = changes.next();
      next.catch(() => undefined);
      return next;
    };
    let change = nextChange();
    while (!signal.aborted) {
      // A part that a read model did not have yet is added to the answer without another event.
      const changed = await Promise.race(answer.isTransient ? [change, sleep(RETRY_MS)] : [change]);
      if (changed?.done === true) return;
      if (changed !== undefined) change = nextChange();
      await stream.drained();
      await sleep(readAtMs + READ_AGAIN_MS - performance.now(), signal);
      const next = await untilRead(() => readAgain(changed?.value ?? position), signal);
      if (next === undefined) return;
      readAtMs = performance.now();
      position = next.position ?? position;
      const isChanged = !isSameJson(next.body, answer.body);
      answer = next;
      if (isChanged) await this.#write(stream, answer, position);
      else await stream.write('', this.#parts.positions.format(position));
    }
  }

  async #write(stream: EventStream, { body }: Answer, position: Position): Promise<void> {
    const id = this.#parts.positions.format(position);
    await stream.write(`id: ${id}\ndata: ${JSON.stringify(body)}\n\n`, id);
  }
}

/** Ask about the past, whose answer never changes. */
const PAST = ['as_of', 'revision'];
/** Ask for a page: a stream has none. */
const PAGES = ['limit', 'cursor'];

/** @throws LedgerError `validation-failed` for a parameter that has no meaning in a stream */
function refuseInStream(sentQuery: QueryTexts, refused: readonly string[]): void {
  const name = refused.find((parameter) => parameter in sentQuery);
  if (name === undefined) return;
  throw invalid([
    { path: `query.${name}`, message: 'cannot be sent with Accept: text/event-stream' },
  ]);
}

/**
 * Reads again while it fails for a transient reason. Undefined when the stream ended before that,
 * or when what is read is no longer there.
 */
async function untilRead(
  read: () => Promise<Answer>,
  signal: AbortSignal,
): Promise<Answer | undefined> {
  while (!signal.aborted) {
    try {
      return await read();
    } catch (error) {
      // Gone: the client asks again, and is told so.
      if (error instanceof LedgerError && error.code === 'not-found') return undefined;
      if (!isTransient(error) && !isBehind(error)) throw error;
      await sleep(RETRY_MS, signal);
    }
  }
  return undefined;
}

function isBehind(error: unknown): boolean {
  return (
    error instanceof LedgerError &&
    (error.code === 'read-model-behind' || error.code === 'read-too-slow')
  );
}
