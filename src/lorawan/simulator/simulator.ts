import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';
import { askedDevEui } from './asked-deveui.ts';
import { drawFault, noFaults, type Fault, type FaultCounts, type FaultRates } from './faults.ts';
import { Registrations } from './registrations.ts';

export interface SimulatorOptions extends FaultRates {
  /** Default 0: any that is free. */
  readonly port?: number | undefined;
  /** Default 127.0.0.1. */
  readonly host?: string | undefined;
  /** From the request to the answer, or to whatever comes instead of it. Default 50. */
  readonly latencyMs?: number | undefined;
  /** How many of all DevEUIs, 0 to 1, are somebody else's. */
  readonly conflictRate?: number | undefined;
  /** In the 503 of `unavailableRate`. Default 1. */
  readonly retryAfterSeconds?: number | undefined;
  /**
   * 0 to 1, without 1: once when a DevEUI is first seen, and once for each request for a free one.
   */
  readonly random?: (() => number) | undefined;
  /** Any code of letters and digits counts as a DevEUI, also one that is not 16 hex digits. */
  readonly isLenient?: boolean | undefined;
  /** Called for the first text that is no DevEUI: clients that send one seldom say so. */
  readonly onFirstMalformed?: ((text: string) => void) | undefined;
  /** To be brought as a bearer token by whoever registers. */
  readonly apiKey?: string | undefined;
  /** In PEM; then it is https. */
  readonly tls?: { readonly key: string | Buffer; readonly cert: string | Buffer } | undefined;
  /** Keeps the registrations behind a restart. */
  readonly logFile?: string | undefined;
}

export interface SimulatorStats {
  /** To register, of whatever outcome. */
  readonly requests: number;
  readonly registered: number;
  /** Answers that a DevEUI is in use. */
  readonly conflicts: number;
  readonly faults: Readonly<FaultCounts>;
  /** From the head of a request until its response is sent, or its connection closed. */
  readonly in_flight: number;
  readonly peak_in_flight: number;
}

export interface Simulator {
  /** Without a slash at its end. */
  readonly url: string;
  readonly port: number;
  /** The DevEUIs in upper case, in the order of their registration. */
  registered(): string[];
  stats(): SimulatorStats;
  /** Cuts off whoever is still waiting. It may be called again. */
  close(): Promise<void>;
}

/**
 * A stand-in for the provider of the LoRaWAN network, which fails as often as it is told to. `POST
 * …/sensor-onboarding-sample` below any path; `GET /registered` and `GET /stats` tell what it did.
 *
 * @throws what node:net, node:tls and node:fs throw: the port is in use, the certificate or the
 * file no good
 */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const { port = 0, host = '127.0.0.1', tls, logFile } = options;
  const registrations = new Registrations(logFile);
  try {
    const handler = new RequestHandler(options, registrations);
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      void handler.serve(request, response);
    };
    const server = tls ? createTlsServer({ ...tls }, answer) : createServer(answer);
    await listen(server, host, port);
    const address = server.address() as AddressInfo;
    const authority = address.family === 'IPv6' ? `[${address.address}]` : address.address;
    let closing: Promise<void> | undefined;
    return {
      url: `${tls ? 'https' : 'http'}://${authority}:${address.port}`,
      port: address.port,
      registered: () => registrations.all(),
      stats: () => handler.stats(),
      close() {
        handler.close();
        closing ??= closed(server).finally(() => registrations.close());
        return closing;
      },
    };
  } catch (error) {
    registrations.close();
    throw error;
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

const DEFAULT_LATENCY_MS = 50;
const MAX_BODY_BYTES = 64 * 1024;

/** Answers the requests of a simulator, and counts them. */
class RequestHandler {
  readonly #options: SimulatorOptions;
  readonly #random: () => number;
  readonly #registrations: Registrations;
  readonly #isTaken = new Map<string, boolean>();
  readonly #faults = noFaults();
  #isClosed = false;
  #requests = 0;
  #conflicts = 0;
  #hasSeenMalformed = false;
  #inFlight = 0;
  #peakInFlight = 0;

  constructor(options: SimulatorOptions, registrations: Registrations) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
    this.#registrations = registrations;
  }

  stats(): SimulatorStats {
    return {
      requests: this.#requests,
      registered: this.#registrations.size,
      conflicts: this.#conflicts,
      faults: { ...this.#faults },
      in_flight: this.#inFlight,
      peak_in_flight: this.#peakInFlight,
    };
  }

  /** What is asked for, but not registered yet, never will be. */
  close(): void {
    this.#isClosed = true;
  }

  /** Never rejects. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
    if (path.endsWith('/sensor-onboarding-sample')) {
      if (request.method !== 'POST') sendNotAllowed(response, 'POST');
      else await this.#register(request, response);
      return;
    }
    // These need no key, since a provider does not have them.
    if (path !== '/registered' && path !== '/stats') {
      send(response, 404, { error: 'no route has this path' });
    } else if (request.method !== 'GET') {
      sendNotAllowed(response, 'GET');
    } else if (path === '/stats') {
      send(response, 200, this.stats());
    } else {
      const items = this.#registrations.all();
      send(response, 200, { items, total: items.length });
    }
  }

  async #register(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#requests += 1;
    this.#inFlight += 1;
    this.#peakInFlight = Math.max(this.#peakInFlight, this.#inFlight);
    response.once('close', () => {
      this.#inFlight -= 1;
    });
    const body = await bodyOf(request);
    // The client left in the midst of it.
    if (body === undefined) return;
    const { apiKey, latencyMs = DEFAULT_LATENCY_MS } = this.#options;
    await sleep(latencyMs, undefined, { ref: false });
    if (this.#isClosed) return;
    const asked = askedDevEui(body, this.#options.isLenient === true);
    if (apiKey !== undefined && request.headers.authorization !== `Bearer ${apiKey}`) {
      send(response, 401, { error: 'bring the key' });
    } else if (asked.kind === 'nothing') {
      send(response, 400, { error: 'send {"deveui":"<16 hexadecimal digits>"}' });
    } else if (asked.kind === 'malformed') {
      this.#sendMalformed(asked.text, response);
    } else if (this.#isSomebodyElses(asked.devEui)) {
      // Without faults: of a request without an answer, whoever asks again could not tell whether
      // the DevEUI is his by now, and a test could not tell whether he was right.
      this.#sendConflict(response);
    } else {
      // A client that has left cannot take its request back.
      this.#answer(asked.devEui, drawFault(this.#options, this.#random), response);
    }
  }

  #isSomebodyElses(devEui: string): boolean {
    const known = this.#isTaken.get(devEui);
    if (known !== undefined) return known;
    const { conflictRate = 0 } = this.#options;
    const isTaken = !this.#registrations.has(devEui) && this.#random() < conflictRate;
    this.#isTaken.set(devEui, isTaken);
    return isTaken;
  }

  #answer(devEui: string, fault: Fault | undefined, response: ServerResponse): void {
    if (fault !== undefined) this.#faults[fault] += 1;
    switch (fault) {
      case undefined:
        if (this.#isNew(devEui)) send(response, 200, { deveui: devEui });
        else this.#sendConflict(response);
        return;
      case 'error':
        send(response, 500, { error: 'this was asked for: a fault' });
        return;
      case 'unavailable':
        response.setHeader('Retry-After', this.#options.retryAfterSeconds ?? 1);
        send(response, 503, { error: 'this was asked for: a fault' });
        return;
      case 'garbage':
        sendGarbage(response);
        return;
      case 'reset':
        reset(response);
        return;
      case 'lost_answer':
        this.#isNew(devEui);
        reset(response);
        return;
      case 'lost_hang':
        this.#isNew(devEui);
        return;
      case 'hang':
        return;
    }
  }

  /** It is registered behind this, at any rate. */
  #isNew(devEui: string): boolean {
    if (this.#registrations.has(devEui)) return false;
    this.#registrations.add(devEui);
    return true;
  }

  /** 422: clients repeat a request that was answered with 400, and would never end. */
  #sendMalformed(text: string, response: ServerResponse): void {
    if (!this.#hasSeenMalformed) this.#options.onFirstMalformed?.(text);
    this.#hasSeenMalformed = true;
    const error = 'the DevEUI must be 16 hexadecimal digits, such as FFA45722AA738240';
    send(response, 422, { error });
  }

  #sendConflict(response: ServerResponse): void {
    this.#conflicts += 1;
    send(response, 422, { error: 'the DevEUI is in use' });
  }
}

/** Undefined when the client did not send all of it; empty when it is too long to be any good. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let lengthBytes = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      lengthBytes += chunk.length;
      if (lengthBytes <= MAX_BODY_BYTES) chunks.push(chunk);
    }
  } catch {
    return undefined;
  }
  return lengthBytes <= MAX_BODY_BYTES ? Buffer.concat(chunks).toString('utf8') : '';
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}

function sendNotAllowed(response: ServerResponse, allowed: string): void {
  response.setHeader('Allow', allowed);
  send(response, 405, { error: `use ${allowed}` });
}

function sendGarbage({ socket }: ServerResponse): void {
  socket?.write('\u0000\u0001 this is not HTTP \r\n\r\n');
  socket?.destroySoon();
}

function reset({ socket }: ServerResponse): void {
  // Only TCP has resets; TLS just breaks off, without its goodbye.
  if (socket instanceof TLSSocket) socket.destroy();
  else socket?.resetAndDestroy();
}
