import { expect } from 'vitest';
import type { ApiClient } from '../api/api-client.ts';

const QUIET_SENSORS = 20;
/** Sends everything as new, and is written to by all at once. */
const HOT_SENSOR = 'hot';

export interface Load {
  /** How many patches have been answered with 200. */
  acknowledged(): number;
  /** Until the service answers no more. */
  ended(): Promise<void>;
  /** That the log holds each acknowledged patch once, and no other more than once. */
  expectKept(client: ApiClient): Promise<void>;
}

/** Patches without end, by `writers` at a time, each with a value that no other patch has. */
export async function startLoad(client: ApiClient, writers: number): Promise<Load> {
  await client.put(`/sensors/${HOT_SENSOR}/dedup`, { json: { strategy: 'none' } });
  const sent = new Map<string, Set<number>>();
  const acknowledged = new Map<string, Set<number>>();
  let sequence = 0;
  let count = 0;

  async function write(): Promise<void> {
    for (;;) {
      sequence += 1;
      const n = sequence;
      const sensor = n % 2 === 0 ? HOT_SENSOR : `quiet-${n % QUIET_SENSORS}`;
      note(sent, sensor, n);
      const answer = await client
        .patch(`/sensors/${sensor}`, { json: { data: { n } } })
        .catch((error: unknown) => {
          if (isConnectionLost(error)) return undefined;
          throw error;
        });
      if (answer === undefined) return;
      // A process that is about to end may say so instead.
      if (answer.status === 503) continue;
      expect(answer.status, answer.text).toBe(200);
      note(acknowledged, sensor, n);
      count += 1;
    }
  }
  const writing = Promise.all(Array.from({ length: writers }, write));
  // It is awaited later, by whoever has ended the service.
  writing.catch(() => undefined);

  return {
    acknowledged: () => count,
    async ended() {
      await writing;
    },
    async expectKept(reader) {
      for (const [sensor, values] of sent) {
        const kept = await valuesOf(reader, sensor);
        expect(new Set(kept).size, `${sensor} holds some patch twice`).toBe(kept.length);
        const isSent = kept.every((n) => values.has(n));
        expect(isSent, `${sensor} holds what was never sent`).toBe(true);
        const lost = [...(acknowledged.get(sensor) ?? [])].filter((n) => !kept.includes(n));
        expect(lost, `${sensor} lost what was acknowledged`).toEqual([]);
      }
    },
  };
}

async function valuesOf(client: ApiClient, sensor: string): Promise<number[]> {
  const { status } = await client.get(`/sensors/${sensor}`);
  if (status === 404) return [];
  const entries = await client.walk<{ patch: { n: number } }>(
    `/sensors/${sensor}/history?limit=500`,
  );
  return entries.map(({ patch }) => patch.n);
}

function note(values: Map<string, Set<number>>, sensor: string, n: number): void {
  const known = values.get(sensor) ?? new Set();
  values.set(sensor, known.add(n));
}

export function isConnectionLost(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ECONNRESET' || code === 'ECONNREFUSED' || code === 'EPIPE';
}
