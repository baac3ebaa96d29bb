import { requestsContract } from '../../events/requests.ts';
import { revisionBeyond } from '../../event-store/log-went-back.ts';
import type { EventStore, NewEvent, Position } from '../../event-store/port.ts';
import { formatPosition } from '../../event-store/position-text.ts';
import { streamName, type StreamName } from '../../event-store/stream-name.ts';
import type { Clock } from '../../shared/clock.ts';
import { derivedEntropy, nameBasedId, sha256, type Entropy } from '../../shared/ids.ts';
import type { Json } from '../../shared/json.ts';
import { KeyedQueue } from '../../shared/keyed-queue.ts';
import { appendOnce, appendOne } from './append.ts';
import type { KeyKind } from '../tenancy/api-keys.ts';
import type { CommandIdentity } from './context.ts';
import { StoredResults, type ItemResults } from './stored-results.ts';
import {
  apartIfLarge,
  PartsOfValues,
  positionHere,
  refuseOther,
  requestEvent,
} from './request-events.ts';

/** A request that carries an `Idempotency-Key`. */
export interface IdempotentRequest {
  readonly projectId: string;
  readonly idempotencyKey: string;
  /** A device's keys are its own: the same firmware on all devices makes the same ones on each. */
  readonly deviceId?: string;
  /** A digest of everything that makes it this request and no other. */
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
  /** Where a request of many items keeps the result of each. */
  readonly results: ItemResults;
}

/** An answer as the log keeps it: without secrets. */
export interface KeptAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Json;
  readonly shownKeys: readonly ShownKey[];
  readonly position: Position | null;
  /** Its results were kept item by item, and it is made of them again. */
  readonly isKeptByItem?: boolean;
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
  readonly #parts = new KeyedQueue();

  constructor(store: EventStore, installationSecret: Buffer, clock: Clock) {
    this.#store = store;
    this.#installationSecret = installationSecret;
    this.#clock = clock;
  }

  /**
   * `work` throws where there is no answer, for example when the store is unavailable: then nothing
   * is kept, and the request may be sent again.
   * @throws LedgerError `idempotency-key-reused`
   */
  async run(
    request: IdempotentRequest,
    work: (run: RepeatableRun) => Promise<KeptAnswer>,
  ): Promise<Replay> {
    const stream = requestStream(request);
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
   * whole. Its parts are reserved and kept one by one, and its copies in this process take turns at
   * them.
   * @throws LedgerError `idempotency-key-reused`
   */
  async reserve(request: IdempotentRequest): Promise<StreamedRun> {
    const stream = requestStream(request);
    const reservation = await this.#reserve(stream, request);
    refuseOther(reservation.requestDigest, request.requestDigest);
    const run = this.#repeatable(stream, request, reservation);
    const { results } = run;
    return {
      ...run,
      isReplayed: reservation.isFound,
      results: {
        nextPartSize: () => results.nextPartSize(),
        next: (part, work) => this.#parts.run([stream], () => results.next(part, work)),
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
    const answer = await work(run);
    // Whoever reserved it was first, also where that died, or is slower than its twin.
    const replay = { entropy: run.entropy, isReplayed: reservation.isFound };
    if (answer.isKeptByItem === true) return { answer, ...replay };
    return this.#keep(stream, request, answer, replay);
  }

  #repeatable(
    stream: StreamName,
    request: IdempotentRequest,
    { reservedAt, position, isFound }: Reservation,
  ): RepeatableRun {
    const requestId = nameBasedId(REQUEST_NAMESPACE, stream);
    return {
      now: reservedAt,
      entropy: derivedEntropy(this.#installationSecret, [
        request.projectId,
        request.idempotencyKey,
        request.requestDigest,
        ...(request.deviceId === undefined ? [] : [request.deviceId]),
      ]),
      identity: (label, ordinal) => ({
        id: nameBasedId(requestId, label),
        reservedAt: position,
        ...(ordinal !== undefined && { ordinal }),
      }),
      results: new StoredResults(this.#store, stream, { origin: request, isFound }),
    };
  }

  async #reserve(stream: StreamName, request: IdempotentRequest): Promise<Reservation> {
    const { requestDigest, route } = request;
    const reservedAt = this.#clock();
    const event = requestEvent(request, {
      type: 'RequestReserved',
      data: { requestDigest, route, reservedAt: reservedAt.toISOString() },
    });
    const write = { stream, expectedRevision: 'no-stream', events: [event] } as const;
    const reserved = await appendOnce(this.#store, write);
    if (reserved.outcome === 'appended') {
      const { position } = reserved;
      return { requestDigest, reservedAt, position, isFound: false, answer: undefined };
    }
    const found = await this.#find(stream);
    if (found === undefined) throw new Error(`${stream} begins with no reservation`);
    return found;
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
        const write = { stream, expectedRevision, events: [event] };
        const appended = await appendOne(this.#store, write);
        if (appended.outcome === 'appended') {
          expectedRevision = appended.revision;
          break;
        }
        // A twin in another process was faster. Or it keeps the parts of a large body, as we do, or
        // has died over that: its parts may stand between ours, as each tells whose it is.
        const found = await this.#find(stream);
        if (found?.answer !== undefined) {
          // There is one answer, and it is the twin's.
          return { answer: found.answer, ...replay };
        }
        expectedRevision = revisionBeyond(stream, expectedRevision, appended.actualRevision);
      }
    }
    return { answer, ...replay };
  }

  /** Undefined when nothing is reserved there. */
  async #find(stream: StreamName): Promise<Reservation | undefined> {
    let reservation: Reservation | undefined;
    const parts = new PartsOfValues();
    for await (const recorded of this.#store.readStream(stream)) {
      const event = requestsContract.read(recorded);
      if (event.type === 'RequestReserved') {
        const { requestDigest, reservedAt } = event.data;
        reservation = {
          requestDigest,
          reservedAt: new Date(reservedAt),
          position: recorded.position,
          isFound: true,
          answer: undefined,
        };
      }
      // A request of many items has results in the log, and no answer.
      const isOfItems =
        event.type === 'RequestItemsReserved' || event.type === 'RequestItemsAnswered';
      if (reservation === undefined || isOfItems) break;
      if (event.type === 'RequestBodyPartKept') parts.add(event.data);
      if (event.type === 'RequestAnswered') {
        const { bodyId, shownKeysId, ...answer } = event.data;
        const position = positionHere(this.#store, answer.position, recorded);
        const body = parts.value(bodyId) ?? answer.body;
        const shownKeys = parts.value(shownKeysId) ?? answer.shownKeys;
        return {
          ...reservation,
          answer: { ...answer, body, shownKeys: shownKeys as unknown as ShownKey[], position },
        };
      }
    }
    return reservation;
  }
}

/** In streams apart for devices, so that nobody can write a key that is another's. */
function requestStream({ projectId, idempotencyKey, deviceId }: IdempotentRequest): StreamName {
  return deviceId === undefined
    ? streamName('request', projectId, sha256(idempotencyKey))
    : streamName(
        'request',
        projectId,
        'device',
        sha256(JSON.stringify([deviceId, idempotencyKey])),
      );
}

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
