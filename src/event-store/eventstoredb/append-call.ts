import {
  CancelledError,
  convertToCommandError,
  UnknownError,
  type EventData,
  type EventStoreDBClient,
} from '@eventstore/db-client';
import { unpackToCommandError } from '@eventstore/db-client/dist/streams/appendToStream/unpackError.js';
import type { UUID } from '@eventstore/db-client/generated/shared_pb.js';
import shared from '@eventstore/db-client/generated/shared_pb.js';
import type { Status } from '@eventstore/db-client/generated/status_pb.js';
import { StreamsClient } from '@eventstore/db-client/generated/streams_grpc_pb.js';
import type {
  BatchAppendReq,
  BatchAppendResp,
} from '@eventstore/db-client/generated/streams_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import { randomUUID } from 'node:crypto';
import { stringify } from 'uuid';
import type { ExpectedRevision } from '../port.ts';
import { NoAnswerError } from './failures.ts';

export interface AppendRequest {
  readonly stream: string;
  readonly events: readonly EventData[];
  readonly expectedRevision: ExpectedRevision;
  /** How long the answer is waited for. */
  readonly timeoutMs: number;
}

export interface AppendSuccess {
  readonly revision: bigint;
  /** A repetition may be answered without it. */
  readonly position: bigint | undefined;
}

interface Waiting {
  readonly request: AppendRequest;
  readonly resolve: (success: AppendSuccess) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The one call that carries all appends of a process, many at a time: the client's batch path, made
 * anew over its connection. The client's own ends the process where the connection breaks while
 * appends wait to be written (256 callers with 20 KB each: 1,600 unhandled rejections at once),
 * keeps the appends of all clients in one table, and takes no time-out.
 */
export class AppendCall {
  readonly #client: ClientInternals;
  #open: Promise<OpenCall> | undefined;

  constructor(client: EventStoreDBClient) {
    this.#client = client as unknown as ClientInternals;
  }

  /**
   * @throws WrongExpectedVersionError, MaxAppendSizeExceededError, NoAnswerError, and what the
   * client
   *   throws of connections; after those but the first two, it may have been stored.
   */
  async append(request: AppendRequest): Promise<AppendSuccess> {
    const timeout = new Timeout(request.timeoutMs);
    try {
      const open = await timeout.orTooLate(this.#opened());
      return await open.append(request, timeout);
    } finally {
      timeout.clear();
    }
  }

  /** Nobody may be waiting for an answer any more. */
  async close(): Promise<void> {
    const open = await this.#open?.catch(() => undefined);
    open?.close();
  }

  #opened(): Promise<OpenCall> {
    if (this.#open !== undefined) return this.#open;
    const opening = this.#start();
    const forget = (): void => {
      if (this.#open === opening) this.#open = undefined;
    };
    opening.then((open) => open.onOver(forget), forget);
    this.#open = opening;
    return opening;
  }

  async #start(): Promise<OpenCall> {
    // The client replaces its connection when an error of the call asks for it.
    const start = this.#client.GRPCStreamCreator(StreamsClient, 'batchAppend', (grpc) =>
      grpc.batchAppend(...this.#client.callArguments({}, { deadline: Infinity })),
    );
    return new OpenCall(await start());
  }
}

class OpenCall {
  readonly #call: Call;
  readonly #waiting = new Map<string, Waiting>();
  readonly #overListeners: (() => void)[] = [];
  #isOver = false;
  /** Settles when the call takes more, or is over. */
  #drained: Promise<void> | undefined;
  #wake: (() => void) | undefined;

  constructor(call: Call) {
    this.#call = call;
    call.on('data', (response) => this.#answered(response));
    call.on('drain', () => this.#wake?.());
    call.on('error', (error) => this.#end(convertToCommandError(error)));
    call.on('end', () => this.#end(new CancelledError(undefined, 'the server ended the call')));
    call.on('close', () => this.#end(new CancelledError(undefined, 'the call was closed')));
  }

  close(): void {
    this.#call.end();
  }

  onOver(listener: () => void): void {
    if (this.#isOver) listener();
    else this.#overListeners.push(listener);
  }

  async append(request: AppendRequest, timeout: Timeout): Promise<AppendSuccess> {
    while (this.#drained !== undefined) await timeout.orTooLate(this.#drained);
    if (this.#isOver) throw new CancelledError(undefined, 'the call is over');
    const correlationId = randomUUID();
    const answer = new Promise<AppendSuccess>((resolve, reject) => {
      this.#waiting.set(correlationId, { request, resolve, reject });
      if (!this.#call.write(message(correlationId, request))) this.#waitForDrain();
    });
    try {
      return await timeout.orTooLate(answer);
    } finally {
      this.#waiting.delete(correlationId);
    }
  }

  #waitForDrain(): void {
    this.#drained ??= new Promise((resolve) => {
      this.#wake = () => {
        this.#drained = undefined;
        this.#wake = undefined;
        resolve();
      };
    });
  }

  #answered(response: BatchAppendResp): void {
    const waiting = this.#waiting.get(textOf(response.getCorrelationId()));
    // Nobody waits for it any more.
    if (waiting === undefined) return;
    const error = response.getError();
    const success = response.getSuccess();
    if (error !== undefined) {
      waiting.reject(reasonOf(error, waiting.request.stream));
    } else if (success !== undefined) {
      const position = success.getPosition()?.getCommitPosition();
      waiting.resolve({
        revision: BigInt(success.getCurrentRevision()),
        position: position === undefined ? undefined : BigInt(position),
      });
    }
  }

  #end(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#wake?.();
    for (const listener of this.#overListeners) listener();
  }
}

/** One for all that an append waits for. */
class Timeout {
  readonly #tooLate: Promise<never>;
  #timer: NodeJS.Timeout | undefined;

  constructor(timeoutMs: number) {
    this.#tooLate = new Promise((_, reject) => {
      this.#timer = setTimeout(() => reject(new NoAnswerError(timeoutMs)), timeoutMs);
    });
    // Nobody may be waiting by then.
    this.#tooLate.catch(() => undefined);
  }

  /** @throws NoAnswerError */
  orTooLate<T>(awaited: Promise<T>): Promise<T> {
    return Promise.race([awaited, this.#tooLate]);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}

function reasonOf(error: Status, stream: string): unknown {
  try {
    return unpackToCommandError(error, stream);
  } catch {
    // It brings no details, which the client takes for granted.
    return new UnknownError(undefined, error.getMessage());
  }
}

function message(correlationId: string, request: AppendRequest): BatchAppendReq {
  const options = new streams.BatchAppendReq.Options();
  const identifier = new shared.StreamIdentifier();
  identifier.setStreamName(Buffer.from(request.stream, 'utf8'));
  options.setStreamIdentifier(identifier);
  switch (request.expectedRevision) {
    case 'any':
      options.setAny(new shared.Empty());
      break;
    case 'no-stream':
      options.setNoStream(new shared.Empty());
      break;
    case 'stream-exists':
      options.setStreamExists(new shared.Empty());
      break;
    default:
      options.setStreamPosition(revisionOnWire(request.expectedRevision));
  }
  const batch = new streams.BatchAppendReq();
  batch.setCorrelationId(uuid(correlationId));
  batch.setOptions(options);
  batch.setProposedMessagesList(request.events.map(proposed));
  batch.setIsFinal(true);
  return batch;
}

function proposed(event: EventData): BatchAppendReq.ProposedMessage {
  const proposal = new streams.BatchAppendReq.ProposedMessage();
  proposal.setId(uuid(event.id));
  proposal.getMetadataMap().set('type', event.type).set('content-type', event.contentType);
  proposal.setData(Buffer.from(JSON.stringify(event.data), 'utf8'));
  if (event.metadata !== undefined) {
    proposal.setCustomMetadata(Buffer.from(JSON.stringify(event.metadata), 'utf8'));
  }
  return proposal;
}

function uuid(text: string): UUID {
  const id = new shared.UUID();
  id.setString(text);
  return id;
}

/** The server may answer in either form. */
function textOf(id: UUID | undefined): string {
  const structured = id?.getStructured();
  if (structured === undefined) return id?.getString() ?? '';
  const octets = Buffer.alloc(16);
  octets.writeBigUInt64BE(BigInt.asUintN(64, BigInt(structured.getMostSignificantBits())), 0);
  octets.writeBigUInt64BE(BigInt.asUintN(64, BigInt(structured.getLeastSignificantBits())), 8);
  return stringify(octets);
}

const MAX_REVISION = 2n ** 63n - 1n;

/** A revision that no stream has never matches, and the server reads no larger one. */
function revisionOnWire(revision: bigint): string {
  return (revision >= 0n && revision < MAX_REVISION ? revision : MAX_REVISION - 1n).toString();
}

type Call = ReturnType<StreamsClient['batchAppend']>;
type CallArguments = Parameters<StreamsClient['batchAppend']>;

/** Internals of the client, whose version is pinned: its own commands are made of these. */
interface ClientInternals {
  callArguments(options: object, callOptions: { deadline: number }): Required<CallArguments>;
  GRPCStreamCreator(
    client: typeof StreamsClient,
    name: string,
    create: (client: StreamsClient) => Call,
  ): () => Promise<Call>;
}
