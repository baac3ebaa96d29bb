/** What every contestant stores: the event of one small patch. */
export interface SensorEvent {
  readonly type: 'SensorPatched';
  readonly data: {
    readonly sensorId: string;
    readonly patch: { readonly temperature: number };
    readonly receivedAt: string;
  };
  readonly metadata: {
    readonly projectId: string;
    readonly actor: string;
    readonly correlationId: string;
    readonly schemaVersion: number;
  };
}

export const BENCH_PROJECT = 'bench';

export function sensorId(index: number): string {
  return `s${index}`;
}

/** Its category ends at the first `-`. */
export function sensorStream(index: number): string {
  return `sensor-${BENCH_PROJECT}.${sensorId(index)}`;
}

export function sensorEvent(sensorIndex: number, temperature: number): SensorEvent {
  return {
    type: 'SensorPatched',
    data: {
      sensorId: sensorId(sensorIndex),
      patch: { temperature },
      receivedAt: '2026-01-01T00:00:00.000Z',
    },
    metadata: {
      projectId: BENCH_PROJECT,
      actor: 'bench',
      correlationId: '0198c0de-0000-7000-8000-000000000000',
      schemaVersion: 1,
    },
  };
}
