import autocannon, { type AutocannonRequest } from 'autocannon';
import { percentile } from '../statistics.ts';
import type { HttpLoad, HttpLoadResult } from './http-load.ts';
import { sensorId } from './sensor-event.ts';

const CONNECTIONS = 64;
const SENSORS = 1_000;
/** Two would do: a patch must differ from the one before it. */
const VALUES_PER_SENSOR = 4;
/** The share of the requests that warm up this process, and are not timed. */
const WARM_UP_SHARE = 0.1;

const { url, key, kind, requests, firstValue } = JSON.parse(process.argv[2] ?? '') as HttpLoad;

const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };

/**
 * Each connection patches sensors of its own, in turn, with changing values: so none is a
 * duplicate, and all requests can be made before the first is sent.
 */
function patchesOf(connection: number): AutocannonRequest[] {
  const made: AutocannonRequest[] = [];
  for (let value = 0; value < VALUES_PER_SENSOR; value++) {
    for (let sensor = connection; sensor < SENSORS; sensor += CONNECTIONS) {
      const body = JSON.stringify({ data: { temperature: firstValue + value } });
      made.push({ method: 'PATCH', path: `/api/v1/sensors/${sensorId(sensor)}`, headers, body });
    }
  }
  return made;
}

/**
 * Each connection reports a component of its own, each time another second: more than it will send.
 */
function reportsOf(connection: number): AutocannonRequest[] {
  const most = Math.ceil((3 * requests) / CONNECTIONS);
  return Array.from({ length: most }, (_, second) => ({
    method: 'POST',
    path: '/api/v1/firmware',
    headers,
    body: JSON.stringify({
      version: '1.0.0',
      component: `component-${connection}`,
      timestamp: firstValue * 1_000 + second,
    }),
  }));
}

const REQUESTS_OF = { patch: patchesOf, firmware: reportsOf };
const ACCEPTED = { patch: 200, firmware: 202 };

let connection = 0;
const warmUpRequests = Math.floor(requests * WARM_UP_SHARE);
let answered = 0;
let startedAtMs = 0;
const latenciesMs: number[] = [];
const measured = await new Promise<HttpLoadResult>((resolve, reject) => {
  const tracker = autocannon(
    {
      url,
      connections: CONNECTIONS,
      // A number of requests, not a time: all are answered before the connections end, so that
      // answers and events can be counted against each other.
      amount: requests,
      setupClient: (client) => client.setRequests(REQUESTS_OF[kind](connection++)),
    },
    // Up to a second after the last answer, so this only tells of failures.
    (error, result) =>
      reject(error ?? new Error(`not all were answered: ${JSON.stringify(result)}`)),
  );
  tracker.on('response', (_client, status: number, _bytes, latencyMs: number) => {
    if (status !== ACCEPTED[kind]) reject(new Error(`a request was answered with ${status}`));
    answered += 1;
    if (answered > warmUpRequests) latenciesMs.push(latencyMs);
    else startedAtMs = performance.now();
    if (answered < requests) return;
    resolve({
      perSecond: (latenciesMs.length * 1_000) / (performance.now() - startedAtMs),
      p50Ms: percentile(latenciesMs, 50),
      p99Ms: percentile(latenciesMs, 99),
      endedAt: Date.now(),
    });
  });
});
process.stdout.write(JSON.stringify(measured), () => process.exit(0));
