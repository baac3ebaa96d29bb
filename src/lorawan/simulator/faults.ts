/** What may go wrong with a request, each with a rate of its own, 0 to 1. Together at most 1. */
export interface FaultRates {
  /** Never answered, nothing registered: the connection stays open until the client closes it. */
  readonly hangRate?: number | undefined;
  /** The connection is reset, nothing registered. */
  readonly resetRate?: number | undefined;
  /** 500, nothing registered. */
  readonly errorRate?: number | undefined;
  /** 503 with a Retry-After, nothing registered. */
  readonly unavailableRate?: number | undefined;
  /** Answered with bytes that are not HTTP, nothing registered. */
  readonly garbageRate?: number | undefined;
  /** Registered; then the connection is reset. */
  readonly lostAnswerRate?: number | undefined;
  /** Registered; then never answered. */
  readonly lostHangRate?: number | undefined;
}

const RATES_OF_KINDS = {
  hang: 'hangRate',
  reset: 'resetRate',
  error: 'errorRate',
  unavailable: 'unavailableRate',
  garbage: 'garbageRate',
  lost_answer: 'lostAnswerRate',
  lost_hang: 'lostHangRate',
} as const satisfies Record<string, keyof FaultRates>;

export type Fault = keyof typeof RATES_OF_KINDS;

const FAULTS = Object.keys(RATES_OF_KINDS) as readonly Fault[];

/** @param random 0 to 1, without 1; drawn from once for each request */
export function drawFault(rates: FaultRates, random: () => number): Fault | undefined {
  let left = random();
  for (const fault of FAULTS) {
    left -= rates[RATES_OF_KINDS[fault]] ?? 0;
    if (left < 0) return fault;
  }
  return undefined;
}

export function sumOfRates(rates: FaultRates): number {
  return FAULTS.reduce((sum, fault) => sum + (rates[RATES_OF_KINDS[fault]] ?? 0), 0);
}

/** How often each has happened. */
export type FaultCounts = Record<Fault, number>;

export function noFaults(): FaultCounts {
  return Object.fromEntries(FAULTS.map((fault) => [fault, 0])) as FaultCounts;
}
