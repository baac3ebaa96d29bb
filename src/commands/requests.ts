import type { RequestEvent } from '../events/requests.ts';
import { domainEvent, recordable } from '../events/registry.ts';
import type { EventStore, NewEvent, Position, RecordedEvent } from '../event-store/port.ts';
import { formatPosition, parsePosition } from '../event-store/position.ts';
import { streamName, type StreamName } from '../event-store/stream-name.ts';
import type { Clock } from '../shared/clock.ts';
import { LedgerError } from '../shared/errors.ts';
import { derivedEntropy, nameBasedId, newEventId, sha256, type Entropy } from '../shared/ids.ts';
import type { Json } from '../shared/json.ts';
import type { KeyKind } from './keys.ts';
import type { CommandIdentity } from './handler.ts';

/** A request that carries an `Idempotency-Key`. */
export interface IdempotentRequest {
  readonly projectId: string;
  readonly idempotencyKey: string;
  /** Of everything that makes it this request and no other. */
  readonly requestDigest: string;
  /** The method and path, for whoever reads the log. */
  readonly route: string;
  readonly actor: string;
  readonly correlationId: string;
}

/** What a request must be run with, so that running it again does and shows the same. */
export interface RepeatableRun {
  readonly now: Date;
  readonly entropy: Entropy;
  /** The identity of a command of this request; `label` tells several apart. */
  readonly identity: (label: string, ordinal?: number) => CommandIdentity;
}

/** An answer as the log keeps it: without secrets. */
export interface KeptAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Json;
  readonly shownKeys: readonly ShownKey[];
  readonly position: Position | null;
}

/** A key that an answer shows: where in the body it goes, and how its secret is derived again. */
export interface ShownKey {
  readonly path: readonly string[];
  readonly kind: KeyKind;
  readonly keyId: string;
  readonly label: string;
}

export interface Replay {
  readonly answer: KeptAnswer;
  readonly isReplayed: boolean;
  /** Shows the secrets of the first answer again. */
  readonly entropy: Entropy;
}

/** Turns a request's identity into a UUID (RFC 9562, version 5). */
const REQUEST_NAMESPACE = '0d9d1f5e-6a53-4b0f-8d5b-2c1e4f7a9b36';

export interface StreamedRun extends RepeatableRun {
  readonly isReplayed: boolean;
  /** The results that were given out before, part by part; to be read to the end before `keep`. */
  kept(): AsyncIterable<readonly Json[]>;
  /** Keeps the results of the next records. */
  keep(results: readonly Json[]): Promise<void>;
}

interface Running {
  readonly requestDigest: string;
  readonly replay: Promise<Replay>;
}

interface Reservation {
  readonly requestDigest: string;
  readonly reservedAt: Date;
  readonly position: Position;
  /** Made by another run, earlier or elsewhere. */
  readonly isFound: boolean;
  /** The last of the stream. */
  readonly revision: bigint;
  readonly answer: KeptAnswer | undefined;
}

/**
 * Runs each request once, whatever is sent again (draft-ietf-httpapi-idempotency-key-header).
 *
 * Its stream takes the reservation (with `no-stream`, so of twins one is first), then the answer. A
 * reservation without an answer is a request that runs elsewhere or died: it is run again, with the
 * same time, ids and secrets, and each of its commands recognises what it has done already. So no
 * process waits for another that may be dead, and no crash leaves half a request.
 */
export class IdempotentRequests {
  readonly #store: EventStore;
  readonly #installationSecret: Buffer;
  readonly #clock: Clock;
  readonly #running = new Map<StreamName, Running>();

  constructor(store: EventStore, installationSecret: Buffer, clock: Clock) {
    this.#store = store;
    this.#installationSecret = installationSecret;
    this.#clock = clock;
  }

  /**
   * `work` throws for what is no answer (the store is away): then nothing is kept, and the request
   * may be sent again.
   * @throws LedgerError `idempotency-key-reused`
   */
  async run(
    request: IdempotentRequest,
    work: (run: RepeatableRun) => Promise<KeptAnswer>,
  ): Promise<Replay> {
    const stream = streamName('request', request.projectId, sha256(request.idempotencyKey));
    const running = this.#running.get(stream);
    if (running !== undefined) {
      refuseOther(running.requestDigest, request.requestDigest);
      return { ...(await running.replay), isReplayed: true };
    }
    const replay = this.#runOnce(stream, request, work).finally(() => this.#running.delete(stream));
    this.#running.set(stream, { requestDigest: request.requestDigest, replay });
    return replay;
  }

  /**
   * Reserves a request whose body is streamed: no digest of it, and no answer to it, is ever held
   * whole. Its results are kept part by part, each before it is given out, and a repetition gives
   * them again for as many records as they are.
   * @throws LedgerError `idempotency-key-reused`
   */
  async reserve(request: IdempotentRequest): Promise<StreamedRun> {
    const stream = streamName('request', request.projectId, sha256(request.idempotencyKey));
    const reservation = await this.#reserve(stream, request);
    refuseOther(reservation.requestDigest, request.requestDigest);
    let revision = 0n;
    let isKeeping = true;
    const store = this.#store;
    return {
      ...this.#repeatable(stream, request, reservation),
      isReplayed: reservation.isFound,
      async *kept() {
        if (!reservation.isFound) return;
        for await (const recorded of store.readStream(stream, { from: 1n })) {
          const event = domainEvent(recorded) as RequestEvent;
          revision = recorded.revision;
          if (event.type === 'RequestPartAnswered') yield event.data.results;
        }
      },
      keep: async (results) => {
        if (!isKeeping) return;
        const event = requestEvent(request, {
          type: 'RequestPartAnswered',
          data: { results: [...results] },
        });
        const [kept] = await store.append([
          { stream, events: [event], expectedRevision: revision },
        ]);
        // A twin keeps its own: what we did, it recognises, and one list of parts is enough.
        if (kept?.outcome === 'appended') revision = kept.revision;
        else isKeeping = false;
      },
    };
  }

  async #runOnce(
    stream: StreamName,
    request: IdempotentRequest,
    work: (run: RepeatableRun) => Promise<KeptAnswer>,
  ): Promise<Replay> {
    const reservation = await this.#reserve(stream, request);
    refuseOther(reservation.requestDigest, request.requestDigest);
    const run = this.#repeatable(stream, request, reservation);
    if (reservation.answer !== undefined) {
      return { answer: reservation.answer, isReplayed: true, entropy: run.entropy };
    }
    return this.#keep(stream, request, await work(run), {
      entropy: run.entropy,
      // Whoever reserved it was first, also where that died, or is slower than its twin.
      isReplayed: reservation.isFound,
    });
  }

  #repeatable(
    stream: StreamName,
    request: IdempotentRequest,
    { reservedAt, position }: Reservation,
  ): RepeatableRun {
    const requestId = nameBasedId(REQUEST_NAMESPACE, stream);
    return {
      now: reservedAt,
      entropy: derivedEntropy(this.#installationSecret, [
        request.projectId,
        request.idempotencyKey,
        request.requestDigest,
      ]),
      identity: (label, ordinal) => ({
        id: nameBasedId(requestId, label),
        reservedAt: position,
        ...(ordinal !== undefined && { ordinal }),
      }),
    };
  }

  async #reserve(stream: StreamName, request: IdempotentRequest): Promise<Reservation> {
    const { requestDigest, route } = request;
    const reservedAt = this.#clock();
    const [reserved] = await this.#store.append([
      {
        stream,
        expectedRevision: 'no-stream',
        events: [
          requestEvent(request, {
            type: 'RequestReserved',
            data: { requestDigest, route, reservedAt: reservedAt.toISOString() },
          }),
        ],
      },
    ]);
    if (reserved?.outcome === 'appended') {
      const { position } = reserved;
      return {
        requestDigest,
        reservedAt,
        position,
        isFound: false,
        revision: 0n,
        answer: undefined,
      };
    }
    return this.#find(stream);
  }

  async #keep(
    stream: StreamName,
    request: IdempotentRequest,
    answer: KeptAnswer,
    replay: Omit<Replay, 'answer'>,
  ): Promise<Replay> {
    let expectedRevision = 0n;
    // Each event is an append: they may be large.
    for (const event of answerEvents(request, answer, this.#store.logId)) {
      for (;;) {
        const [appended] = await this.#store.append([
          { stream, expectedRevision, events: [event] },
        ]);
        if (appended?.outcome === 'appended') {
          expectedRevision = appended.revision;
          break;
        }
        // A twin in another process was faster. Or it keeps the parts of a large body, as we do, or has
        // died over that: its parts may stand between ours, as each tells whose it is.
        const found = await this.#find(stream);
        if (found.answer !== undefined) {
          // There is one answer, and it is the twin's.
          return { answer: found.answer, ...replay };
        }
        expectedRevision = found.revision;
      }
    }
    return { answer, ...replay };
  }

  async #find(stream: StreamName): Promise<Reservation> {
    let reservation: Reservation | undefined;
    const parts = new Map<string, string>();
    for await (const recorded of this.#store.readStream(stream)) {
      const event = domainEvent(recorded) as RequestEvent;
      if (event.type === 'RequestReserved') {
        const { requestDigest, reservedAt } = event.data;
        reservation = {
          requestDigest,
          reservedAt: new Date(reservedAt),
          position: recorded.position,
          isFound: true,
          revision: recorded.revision,
          answer: undefined,
        };
      }
      // Of a streamed body: there are results, and no answer.
      if (reservation === undefined || event.type === 'RequestPartAnswered') break;
      if (event.type === 'RequestBodyPartKept') {
        const { bodyId, text } = event.data;
        parts.set(bodyId, (parts.get(bodyId) ?? '') + text);
      }
      reservation = { ...reservation, revision: recorded.revision };
      if (event.type === 'RequestAnswered') {
        const { bodyId, shownKeysId, ...answer } = event.data;
        const position = answer.position === null ? null : this.#here(answer.position, recorded);
        const body = keptApart(parts, bodyId) ?? answer.body;
        const shownKeys = keptApart(parts, shownKeysId) ?? answer.shownKeys;
        return {
          ...reservation,
          answer: { ...answer, body, shownKeys: shownKeys as unknown as ShownKey[], position },
        };
      }
    }
    if (reservation === undefined)
      throw new Error(`stream ${stream} refused an event and holds none`);
    return reservation;
  }

  /** The log was moved since, perhaps: in any, the answer is after its effects. */
  #here(position: string, answered: RecordedEvent): Position {
    const { logId } = this.#store;
    return position.startsWith(`${logId}-`) ? parsePosition(logId, position) : answered.position;
  }
}

/** In characters: of up to 3 bytes, and twice as many where all have to be escaped. */
const BODY_PART_LENGTH = 100_000;

/** The answer, after the parts of what is large of it. */
function answerEvents(request: IdempotentRequest, answer: KeptAnswer, logId: string): NewEvent[] {
  const { status, headers, position } = answer;
  const body = apartIfLarge(request, answer.body);
  const shownKeys = answer.shownKeys.map((key) => ({ ...key, path: [...key.path] }));
  const keys = apartIfLarge(request, shownKeys);
  const answered = requestEvent(request, {
    type: 'RequestAnswered',
    data: {
      status,
      headers: { ...headers },
      position: position === null ? null : formatPosition(logId, position),
      ...(body === undefined ? { body: answer.body } : { body: null, bodyId: body.id }),
      ...(keys === undefined ? { shownKeys } : { shownKeys: [], shownKeysId: keys.id }),
    },
  });
  return [...(body?.parts ?? []), ...(keys?.parts ?? []), answered];
}

function apartIfLarge(
  request: IdempotentRequest,
  value: Json,
): { readonly id: string; readonly parts: NewEvent[] } | undefined {
  const text = JSON.stringify(value);
  if (text.length <= BODY_PART_LENGTH) return undefined;
  const id = newEventId();
  const parts: NewEvent[] = [];
  for (let from = 0; from < text.length; from += BODY_PART_LENGTH) {
    const part = text.slice(from, from + BODY_PART_LENGTH);
    const data = { bodyId: id, text: part };
    parts.push(requestEvent(request, { type: 'RequestBodyPartKept', data }));
  }
  return { id, parts };
}

function keptApart(parts: ReadonlyMap<string, string>, id: string | undefined): Json | undefined {
  const text = id === undefined ? undefined : parts.get(id);
  return text === undefined ? undefined : (JSON.parse(text) as Json);
}

function refuseOther(first: string, second: string): void {
  if (first === second) return;
  throw new LedgerError(
    'idempotency-key-reused',
    'This Idempotency-Key was sent with another request: use a new one for each request.',
  );
}

function requestEvent(request: IdempotentRequest, event: RequestEvent): NewEvent {
  const { projectId, actor, correlationId } = request;
  return { id: newEventId(), ...recordable(event, { projectId, actor, correlationId }) };
}
