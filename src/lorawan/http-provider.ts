import { Agent, request as requestHttp, validateHeaderValue, type RequestOptions } from 'node:http';
import { Agent as TlsAgent, request as requestHttps } from 'node:https';
import { urlToHttpOptions } from 'node:url';
import { FairSlots } from '../shared/fair-slots.ts';
import { sendRequest, type Endpoint, type SentRequest } from './http-request.ts';
import type { LorawanProvider, ProviderAnswer } from './provider.ts';

/** What the provider grants: so many requests at once, and not one more. */
export const MAX_IN_FLIGHT = 10;

const RESOURCE = '/sensor-onboarding-sample';

export interface HttpProviderOptions {
  /** http: or https:, to what comes before `/sensor-onboarding-sample`. Its query is sent, too. */
  readonly url: string;
  /** Sent as a bearer token, or as it is when it brings a scheme of its own (`Basic …`). */
  readonly apiKey?: string | undefined;
  /** Limits a whole request: to connect, to send and to be answered. */
  readonly timeoutMs: number;
}

/**
 * The provider by HTTP: `POST …/sensor-onboarding-sample` with `{"deveui":"…"}`.
 *
 * @throws TypeError when `url` is no URL, or `apiKey` is nothing that a header can hold
 */
export function openHttpProvider(options: HttpProviderOptions): LorawanProvider {
  const url = new URL(options.url);
  const agent = openAgent(url);
  const slots = new FairSlots({ slots: MAX_IN_FLIGHT });
  const inFlight = new Set<SentRequest>();

  const ask = async (endpoint: Endpoint, devEui: string): Promise<ProviderAnswer> => {
    const request = sendRequest(endpoint, devEui);
    inFlight.add(request);
    try {
      return await request.over;
    } finally {
      inFlight.delete(request);
    }
  };

  const under = (path: string, share: string): LorawanProvider => {
    const endpoint = endpointOf(url, path, options, agent);
    return {
      address: originOf(url) + path,
      isAt: (address) => providerOrigin(address) === providerOrigin(options.url),
      at: (address, sharer) => under(pathOf(new URL(address)), sharer),
      get waiting() {
        return slots.waiting;
      },
      inSlot(work) {
        return slots.run(share, async () => {
          // The limit is a promise to the provider: it holds also where `work` asks for two at
          // once, or throws while it is waiting for an answer.
          let last: Promise<unknown> = Promise.resolve();
          try {
            return await work((devEui) => {
              const answer = last.then(() => ask(endpoint, devEui));
              last = answer;
              return answer;
            });
          } finally {
            await last;
          }
        });
      },
      abort() {
        for (const request of inFlight) request.abort();
      },
      close() {
        agent.destroy();
      },
    };
  };
  return under(pathOf(url), '');
}

/**
 * Shorter than servers keep idle connections: one that the provider closes just when a request
 * leaves costs a request with unknown outcome. Requests of a batch follow each other faster.
 */
const MAX_IDLE_MS = 500;

function openAgent({ protocol }: URL): Agent {
  const OfProtocol = protocol === 'https:' ? TlsAgent : Agent;
  return new OfProtocol({ keepAlive: true, maxSockets: MAX_IN_FLIGHT, timeout: MAX_IDLE_MS });
}

function endpointOf(
  url: URL,
  path: string,
  { apiKey, timeoutMs }: HttpProviderOptions,
  agent: Agent,
): Endpoint {
  const { protocol, hostname, port, auth } = urlToHttpOptions(url);
  const authorization = authorizationOf(apiKey, auth);
  const headers = {
    'Content-Type': 'application/json',
    ...(authorization !== undefined && { Authorization: authorization }),
  };
  const options: RequestOptions = {
    method: 'POST',
    protocol,
    hostname,
    // The port of the protocol, where there is none.
    ...(port !== undefined && { port }),
    path: path + RESOURCE + url.search,
    agent,
  };
  const request = protocol === 'https:' ? requestHttps : requestHttp;
  return {
    timeoutMs,
    open: (contentLength) =>
      request({ ...options, headers: { ...headers, 'Content-Length': contentLength } }),
  };
}

function authorizationOf(
  apiKey: string | undefined,
  userAndPassword: string | null | undefined,
): string | undefined {
  if (apiKey !== undefined) {
    const authorization = apiKey.includes(' ') ? apiKey : `Bearer ${apiKey}`;
    // Now, as no request may throw.
    validateHeaderValue('Authorization', authorization);
    return authorization;
  }
  if (userAndPassword === undefined || userAndPassword === null) return undefined;
  return `Basic ${Buffer.from(userAndPassword, 'utf8').toString('base64')}`;
}

/** Without credentials, nor a query, which may be a key. */
export function providerAddress(text: string): string {
  const url = new URL(text);
  return originOf(url) + pathOf(url);
}

/** The names that every machine has for itself. */
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\])$/;

/**
 * What a provider is known by, over all processes: host and port. Other names of one host are other
 * providers here, as only the network could tell.
 */
export function providerOrigin(text: string): string {
  const { protocol, hostname, port } = new URL(text);
  const host = LOOPBACK.test(hostname) ? '127.0.0.1' : hostname;
  return `${host}:${port === '' ? (protocol === 'https:' ? '443' : '80') : port}`;
}

function originOf({ protocol, host }: URL): string {
  return `${protocol}//${host}`;
}

/** The path of the service. People also paste the address of the resource itself. */
function pathOf({ pathname }: URL): string {
  const path = pathname.replace(/\/+$/, '');
  return path.endsWith(RESOURCE) ? path.slice(0, -RESOURCE.length) : path;
}
