/** What SIM cards use: for each minute of some days, a record of one of them. */
export interface TrafficOptions {
  readonly sims: number;
  readonly days: number;
  /** `YYYY-MM-DD`. Day 00 is no date, and then the records of the first day are bad ones. */
  readonly startDay: string;
  /** The share of invalid records on the other days, 0 to 1. */
  readonly badShare: number;
  /** The same seed gives the same records. */
  readonly seed: number;
}

export interface TrafficRecord {
  readonly body: string;
  readonly simCardId: string;
  /** None of a record that cannot be used. */
  readonly bytesUsed: number;
  readonly isBad: boolean;
}

/** Where records go. */
export interface UsageSink {
  send(bodies: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

const MINUTES_A_DAY = 1_440;
const MAX_BYTES = 1_000_000;

export function trafficSize({ days }: Pick<TrafficOptions, 'days'>): number {
  return days * MINUTES_A_DAY;
}

export function* usageTraffic(options: TrafficOptions): Generator<TrafficRecord, void, undefined> {
  const random = seeded(options.seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  for (let day = 0; day < options.days; day += 1) {
    const { text: date, isDate } = dayAfter(options.startDay, day);
    for (let minute = 0; minute < MINUTES_A_DAY; minute += 1) {
      const simCardId = simCardIdOf(below(options.sims));
      const bytesUsed = below(MAX_BYTES + 1);
      const isText = random() < 0.5;
      const record = {
        'sim-card-id': simCardId,
        'bytes-used': isText ? String(bytesUsed) : bytesUsed,
        date: `${date}T${twoDigits(Math.floor(minute / 60))}:${twoDigits(minute % 60)}:00Z`,
      };
      const isMeantBad = random() < options.badShare;
      const isBad = isMeantBad || !isDate;
      const body = isMeantBad ? broken(record, below(BREAKINGS.length)) : JSON.stringify(record);
      yield { body, simCardId, bytesUsed: isBad ? 0 : bytesUsed, isBad };
    }
  }
}

type Breaking = (record: Readonly<Record<string, unknown>>) => string;

const BREAKINGS: readonly Breaking[] = [
  (record) => JSON.stringify(record).slice(0, -1),
  (record) => JSON.stringify({ ...record, 'bytes-used': -1 }),
  (record) => JSON.stringify({ ...record, 'bytes-used': '1.5' }),
  (record) => JSON.stringify({ ...record, 'sim-card-id': undefined }),
  (record) => JSON.stringify({ ...record, date: '2020-02-30T00:00:00Z' }),
];

function broken(record: Readonly<Record<string, unknown>>, way: number): string {
  return (BREAKINGS[way] as Breaking)(record);
}

function simCardIdOf(index: number): string {
  return `8944${String(index + 1).padStart(4, '0')}`;
}

function dayAfter(startDay: string, days: number): { text: string; isDate: boolean } {
  const [year = 0, month = 1, day = 1] = startDay.split('-').map(Number);
  if (day + days === 0) return { text: startDay, isDate: false };
  const text = new Date(Date.UTC(year, month - 1, day + days)).toISOString().slice(0, 10);
  return { text, isDate: true };
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}

/** mulberry32: small, quick, and the same on every machine. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
