import { InvalidArgumentError, Option, type Command } from 'commander';
import { UsageProducer } from '../ingest/kafka/usage-producer.ts';
import { createLogger } from '../shared/logger.ts';
import { loadConfig, parseBrokers } from '../config.ts';
import { rate, wholeNumber } from './arguments.ts';
import { openBar } from './bar.ts';
import { ExitCode, Interrupted, onAskedToEnd, UsageError } from './ending.ts';
import { printJson } from './output.ts';
import { openHttpUsage, UsageNotSentError } from './usage-over-http.ts';
import { trafficSize, usageTraffic, type TrafficRecord, type UsageSink } from './usage-traffic.ts';
import { sleep } from '../shared/sleep.ts';
import { errorMessage } from '../shared/errors.ts';

export function addSimulateUsageCommand(simulate: Command): void {
  simulate
    .command('usage')
    .description('send usage records, one per minute, to a Kafka topic or over HTTP')
    .addOption(
      new Option('--brokers <list>', 'host:port, or several separated by commas')
        .argParser(brokers)
        .conflicts(['url']),
    )
    .option('--topic <name>', 'topic, which is created if it is missing', 'usage')
    .option('--url <url>', 'address of a service, such as http://127.0.0.1:8080')
    .option('--key <key>', 'key of a member of a project there')
    .option('--sims <n>', 'number of SIM cards', wholeNumber(1, 1_000_000), 50)
    .option('--days <n>', 'number of days', wholeNumber(1, 100_000), 28)
    .option(
      '--start <day>',
      'first day; day 00 of a month gives invalid records',
      day,
      '2020-02-01',
    )
    .option('--bad <share>', 'share of invalid records, 0 to 1', rate, 0)
    .option(
      '--rate <n>',
      'records per second (default: as fast as they are accepted)',
      wholeNumber(1, 1_000_000),
    )
    .option('--seed <n>', 'the same seed gives the same records', wholeNumber(0, 4_294_967_295), 1)
    .option('--totals', 'also print the bytes of each SIM card')
    .action(simulateUsage);
}

interface UsageOptions {
  readonly brokers?: readonly string[];
  readonly topic: string;
  readonly url?: string;
  readonly key?: string;
  readonly sims: number;
  readonly days: number;
  readonly start: string;
  readonly bad: number;
  readonly rate?: number;
  readonly seed: number;
  readonly totals?: true;
}

const MAX_AT_ONCE = 1_000;
const TICKS_A_SECOND = 10;

async function simulateUsage(options: UsageOptions): Promise<void> {
  const traffic = {
    sims: options.sims,
    days: options.days,
    startDay: options.start,
    badShare: options.bad,
    seed: options.seed,
  };
  const asked = new AbortController();
  onAskedToEnd(() => asked.abort(), ExitCode.interrupted);
  const sink = await openSink(options).catch(notSent);
  const sent = new SentTotals();
  const bar = openBar('sent {value}/{total} {bar} {eta_formatted} left');
  bar?.start(trafficSize(traffic), 0);
  try {
    for await (const records of paced(usageTraffic(traffic), options.rate, asked.signal)) {
      await sink.send(records.map(({ body }) => body)).catch(notSent);
      sent.add(records);
      bar?.update(sent.messages);
    }
  } finally {
    bar?.stop();
    await sink.close().catch(() => undefined);
    // Printed after a failure, too, to be compared with what the ledger holds then.
    await printJson(sent.toJson(options.totals === true));
  }
  if (asked.signal.aborted) throw new Interrupted();
}

function openSink({ brokers, topic, url, key }: UsageOptions): Promise<UsageSink> {
  if (brokers !== undefined) {
    // TLS and credentials are those of the service.
    const { kafka } = loadConfig({ KAFKA_BROKERS: brokers.join(',') });
    const cluster = kafka?.cluster ?? { brokers, tls: undefined, sasl: undefined };
    return UsageProducer.open(cluster, topic, createLogger('silent'));
  }
  if (url === undefined || key === undefined) {
    throw new UsageError('Give --brokers, or --url and --key.');
  }
  return Promise.resolve(openHttpUsage(url, key));
}

function notSent(error: unknown): never {
  if (error instanceof UsageError || error instanceof UsageNotSentError) throw error;
  const reason = errorMessage(error);
  throw new UsageNotSentError(`It could not be sent: ${reason}.`, { cause: error });
}

/** Records by the hundreds, no faster than `ratePerSecond`, until `signal`. */
async function* paced(
  records: Iterable<TrafficRecord>,
  ratePerSecond: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<TrafficRecord[], void, undefined> {
  const atOnce =
    ratePerSecond === undefined
      ? MAX_AT_ONCE
      : Math.min(Math.ceil(ratePerSecond / TICKS_A_SECOND), MAX_AT_ONCE);
  const beganAtMs = performance.now();
  let count = 0;
  let waiting: TrafficRecord[] = [];
  for (const record of records) {
    waiting.push(record);
    if (waiting.length < atOnce) continue;
    if (signal.aborted) return;
    yield waiting;
    count += waiting.length;
    waiting = [];
    if (ratePerSecond === undefined) continue;
    const dueAtMs = beganAtMs + (count / ratePerSecond) * 1_000;
    const earlyMs = dueAtMs - performance.now();
    if (earlyMs > 0) await sleep(earlyMs, signal);
  }
  if (waiting.length > 0 && !signal.aborted) yield waiting;
}

/** What was sent, for whoever compares it with what is answered. */
class SentTotals {
  messages = 0;
  #bad = 0;
  #bytesUsed = 0;
  readonly #bytesBySim = new Map<string, number>();

  add(records: readonly TrafficRecord[]): void {
    for (const { simCardId, bytesUsed, isBad } of records) {
      this.messages += 1;
      if (isBad) {
        this.#bad += 1;
        continue;
      }
      this.#bytesUsed += bytesUsed;
      this.#bytesBySim.set(simCardId, (this.#bytesBySim.get(simCardId) ?? 0) + bytesUsed);
    }
  }

  toJson(hasTotals: boolean): object {
    const sims = [...this.#bytesBySim].toSorted(([one], [other]) => (one < other ? -1 : 1));
    return {
      messages: this.messages,
      bad: this.#bad,
      bytes_used: this.#bytesUsed,
      ...(hasTotals && { simcards: Object.fromEntries(sims) }),
    };
  }
}

function brokers(text: string): readonly string[] {
  const parsed = parseBrokers(text);
  if (parsed === undefined) {
    throw new InvalidArgumentError('It must be host:port, or several with commas between them.');
  }
  return parsed;
}

function day(text: string): string {
  if (/^\d{4}-(0[1-9]|1[0-2])-([0-2]\d|3[01])$/.test(text)) return text;
  throw new InvalidArgumentError('It must be a day, YYYY-MM-DD.');
}
