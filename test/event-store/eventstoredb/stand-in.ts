import { StreamsService } from '@eventstore/db-client/generated/streams_grpc_pb.js';
import type { AppendWork } from './append-work.ts';
import { Appender } from './appending.ts';
import { batchAppend } from './batch-append.ts';
import { Connections } from './connections.ts';
import { removeStream } from './deleting.ts';
import { failures } from './errors.ts';
import { Faults, type AnswerOrFault } from './faults.ts';
import type { GrpcCall } from './grpc-call.ts';
import { GrpcServer, type Handlers } from './grpc-server.ts';
import { Log, systemRecord } from './log.ts';
import { describeCluster, describeFeatures } from './node-information.ts';
import { read } from './reading.ts';
import { singleAppend } from './single-append.ts';
import { Subscription } from './subscribing.ts';

export interface StandInOptions {
  /** Any free one when it is left out. */
  readonly port?: number;
  /** What may wait for a live subscription before it is dropped. */
  readonly liveBufferSize?: number;
  readonly maxAppendSizeBytes?: number;
  /** How many ids ANY and STREAM_EXISTS remember. */
  readonly idCacheSize?: number;
  /**
   * How long after an append was decided its events can be read, and it is answered; until then a
   * refusal may name a revision that nobody can read yet, as on a real server. Default: 0.
   */
  readonly showsAfterMs?: number;
  /** When an append is answered that is dropped, because the same ids are still being written. */
  readonly dropTimeoutMs?: number;
  /** Calls without them are denied. A client sends none with `tls=false`. */
  readonly credentials?: { readonly username: string; readonly password: string };
}

type HandleRequest = (call: GrpcCall, message: Uint8Array) => void;

const MAX_STREAMS_PER_CONNECTION = 100;
const DROP_TIMEOUT_MS = 2_000;

/**
 * Speaks the protocol of an EventStoreDB 23.10 node, over TCP, to its own client, and breaks where
 * it is told to. Its data is in memory, and outlives `kill`.
 */
export class EventStoreStandIn {
  readonly counts = { batchAppends: 0, singleAppends: 0, reads: 0, drops: 0 };
  readonly #options: StandInOptions;
  readonly #log: Log;
  readonly #faults = new Faults();
  readonly #appender: Appender;
  readonly #subscriptions = new Set<Subscription>();
  #server: GrpcServer | undefined;
  #refusal: 'unauthenticated' | 'accessDenied' | undefined;
  #connections: Connections | undefined;

  private constructor(options: StandInOptions) {
    this.#options = options;
    this.#log = new Log(options.showsAfterMs);
    this.#appender = new Appender(this.#log, {
      maxAppendSizeBytes: options.maxAppendSizeBytes ?? 1024 * 1024,
      idCacheSize: options.idCacheSize ?? 1_000_000,
    });
  }

  static async start(options: StandInOptions = {}): Promise<EventStoreStandIn> {
    const standIn = new EventStoreStandIn(options);
    const server = await GrpcServer.start(standIn.#handlers(), MAX_STREAMS_PER_CONNECTION);
    standIn.#server = server;
    standIn.#connections = new Connections(options.port ?? 0, server.port);
    await standIn.#connections.open();
    return standIn;
  }

  get port(): number {
    return this.#clients.port;
  }

  get connectionString(): string {
    return `esdb://127.0.0.1:${this.port}?tls=false`;
  }

  get openConnections(): number {
    return this.#clients.count;
  }

  /** All that were ever made. */
  get acceptedConnections(): number {
    return this.#clients.accepted;
  }

  get openSubscriptions(): number {
    return this.#subscriptions.size;
  }

  get recordCount(): number {
    return this.#log.records.length;
  }

  async close(): Promise<void> {
    this.#faults.forget();
    this.#log.forgetUnshown();
    await this.#clients.close();
    await this.#server?.close();
  }

  /** As by `kill -9`: what it had not done yet is lost, and so is what was not on disk. */
  async kill(): Promise<void> {
    await this.#clients.close();
    this.#clients.release();
    await this.#server?.endConnections();
    this.#faults.forget();
    this.#log.forgetUnshown();
    this.#appender.forgetRecentIds();
  }

  /** On the same port, with the same data. */
  async restart(): Promise<void> {
    if (this.#clients.isOpen) await this.kill();
    await this.#clients.open();
  }

  /** Restarts with an older copy of its data, as `recordCount` was then. */
  async restoreBackup(recordCount: number): Promise<void> {
    await this.kill();
    this.#log.goBackTo(recordCount);
    await this.restart();
  }

  /** New ones may be made at once. What the server has received it still does. */
  cutConnections(): void {
    this.#clients.cut();
  }

  /**
   * Connections and requests are taken, and nothing is answered, no ping either. Requests are done
   * when it is resumed, also those that nobody waits for any more; with `answers`, they are done at
   * once, and only their answers wait.
   */
  stall(what: 'requests' | 'answers' = 'requests'): void {
    if (what === 'requests') this.#faults.stall();
    this.#clients.hold();
  }

  resume(): void {
    this.#faults.resume();
    this.#clients.release();
  }

  /** The next appends are stored, and their connection breaks instead of an answer. */
  loseAnswers(count = 1): void {
    this.#faults.forNextAppends(count, { kind: 'lose-answer' });
  }

  /** On the batch path this ends the call that all appends of a client share. */
  answerNotLeader(count: number, leader: { readonly host: string; readonly port: number }): void {
    this.#faults.forNextAppends(count, { kind: 'not-leader', ...leader });
  }

  answerDeadlineExceeded(count: number, { stored }: { readonly stored: boolean }): void {
    this.#faults.forNextAppends(count, { kind: 'deadline-exceeded', isStored: stored });
  }

  /** Ends the call as `unavailable`; nothing is stored. */
  answerUnavailable(count = 1): void {
    this.#faults.forNextAppends(count, { kind: 'unavailable' });
  }

  /** As a starting node: on the batch path the client makes `unknown` of it. Nothing is stored. */
  answerNotReady(count = 1): void {
    this.#faults.forNextAppends(count, { kind: 'not-ready' });
  }

  dropSubscriptions(): void {
    for (const subscription of this.#subscriptions) subscription.drop();
  }

  /**
   * From now on calls are refused, as after a change of the password or the rights of their user.
   */
  refuseUsers(why: 'unauthenticated' | 'accessDenied' | undefined): void {
    this.#refusal = why;
  }

  setClock(offsetMs: number): void {
    this.#log.clockOffset = offsetMs;
  }

  /** Events of other applications, or of the server itself. */
  appendForeign(stream: string, type: string, count = 1): void {
    this.#log.append(
      stream,
      Array.from({ length: count }, (_, ordinal) => systemRecord(type, { ordinal })),
    );
  }

  softDelete(stream: string): void {
    this.#log.softDelete(stream);
  }

  tombstone(stream: string): void {
    this.#log.tombstone(stream);
  }

  get #clients(): Connections {
    if (this.#connections === undefined) throw new Error('the stand-in is not started');
    return this.#connections;
  }

  #handlers(): Handlers {
    const appends = this.#appendWork();
    const fromAnyone = (handle: HandleRequest) => (call: GrpcCall) =>
      call.onMessage((message) => this.#faults.whenNotStalled(() => handle(call, message)));
    const fromUsers = (handle: HandleRequest) =>
      fromAnyone((call, message) => {
        if (this.#isAllowed(call)) handle(call, message);
        else call.fail(failures[this.#refusal ?? 'accessDenied']());
      });
    return new Map([
      [
        StreamsService.batchAppend.path,
        (call) =>
          batchAppend(
            call,
            counted(appends, () => (this.counts.batchAppends += 1)),
          ),
      ],
      [
        StreamsService.append.path,
        (call) =>
          singleAppend(
            call,
            counted(appends, () => (this.counts.singleAppends += 1)),
          ),
      ],
      [StreamsService.read.path, fromUsers((call, message) => this.#read(call, message))],
      ...removeStream(this.#log, fromUsers),
      ...describeFeatures(fromAnyone),
      ...describeCluster(fromAnyone, () => this.port),
    ]);
  }

  #appendWork(): AppendWork {
    return {
      isAllowed: (call) => this.#isAllowed(call),
      append: (request, answer) =>
        this.#faults.whenNotStalled(() => {
          const decision = this.#faults.append(() => this.#appender.append(request));
          if (decision.outcome === 'dropped') this.#answerByTimeout(answer);
          else if (decision.outcome === 'stored') this.#log.whenShown(() => answer(decision));
          else answer(decision);
        }),
      loseConnection: (call) => this.#clients.cutOf(call.clientPort),
    };
  }

  #answerByTimeout(answer: (answer: AnswerOrFault) => void): void {
    const fault = { kind: 'deadline-exceeded', isStored: true } as const;
    const afterMs = this.#options.dropTimeoutMs ?? DROP_TIMEOUT_MS;
    setTimeout(() => answer({ outcome: 'fault', fault }), afterMs).unref();
  }

  #read(call: GrpcCall, message: Uint8Array): void {
    const options = StreamsService.read.requestDeserialize(Buffer.from(message)).getOptions();
    if (options === undefined) return;
    if (!options.hasSubscription()) {
      this.counts.reads += 1;
      read(call, this.#log, options);
      return;
    }
    const subscription = Subscription.open(call, {
      log: this.#log,
      options,
      liveBufferSize: this.#options.liveBufferSize ?? 32,
    });
    if (subscription === undefined) return;
    this.#subscriptions.add(subscription);
    subscription.onDropped(() => (this.counts.drops += 1));
    call.onOver(() => this.#subscriptions.delete(subscription));
  }

  #isAllowed(call: GrpcCall): boolean {
    if (this.#refusal !== undefined) return false;
    const { credentials } = this.#options;
    if (credentials === undefined) return true;
    const pair = Buffer.from(`${credentials.username}:${credentials.password}`);
    return call.headers.authorization === `Basic ${pair.toString('base64')}`;
  }
}

function counted(work: AppendWork, count: () => void): AppendWork {
  return {
    ...work,
    append(request, answer) {
      count();
      work.append(request, answer);
    },
  };
}
