import { takeInstallationSecret } from '../database/installation-secret.ts';
import { PRESENCE_MS, PresenceWatch } from '../database/presence.ts';
import { copyLog, digestOf, type LogDigest } from '../event-store/log-copy.ts';
import { CopyRefusedError, type OpenEventStore, type Position } from '../event-store/port.ts';
import { Rate } from './rate.ts';
import { createLogger } from '../shared/logger.ts';
import { ExitCode, Interrupted, onAskedToEnd } from './ending.ts';
import { Places } from './log-places.ts';
import { print, printJson, visible } from './output.ts';
import { showProgress, type Progress } from './progress.ts';
import { sleep } from '../shared/sleep.ts';

const LOOK_INTERVAL_MS = 250;
const SAY_INTERVAL_MS = 10_000;

export interface LogCopyOptions {
  readonly from: string;
  readonly to: string;
  readonly json?: boolean;
}

/**
 * Copies until nothing is left and no service writes any more, then compares. Asked to end before
 * that, it stops, and the same command resumes there.
 */
export async function copyLogs({ from, to, json = false }: LogCopyOptions): Promise<void> {
  const interruption = new AbortController();
  onAskedToEnd(() => interruption.abort(), ExitCode.interrupted);
  const { signal } = interruption;
  const places = new Places(createLogger(process.env['LOG_LEVEL'] ?? 'warn'));
  try {
    const source = await places.open('--from', from);
    const target = await places.open('--to', to);
    // Where services on the source say that they are there.
    const services = source.database ?? (await places.databaseOfServices());
    const watch = new PresenceWatch(services, source.log.logId);
    const digest = await copyToTheEnd(source.log, target.log, watch, signal);
    // Where the service will be that serves the copy: the keys that answers showed are derived from
    // it.
    const next = target.database ?? (await places.configuredDatabase());
    if (next !== undefined) await takeInstallationSecret(services, next);
    await report(source.log, target.log, digest, json);
  } finally {
    await places.close();
  }
}

async function copyToTheEnd(
  from: OpenEventStore,
  to: OpenEventStore,
  watch: PresenceWatch,
  signal: AbortSignal,
): Promise<LogDigest> {
  for (;;) {
    const end = await copyAndFollow(from, to, watch, signal);
    const digest = await compare(from, to, end, signal);
    // A service may have been started meanwhile, and have written.
    if ((await watch.present()).length === 0 && (await from.head()) <= end) return digest;
  }
}

/** Gives the position up to which all is copied, when no service writes any more. */
async function copyAndFollow(
  from: OpenEventStore,
  to: OpenEventStore,
  watch: PresenceWatch,
  signal: AbortSignal,
): Promise<Position> {
  const progress = showProgress('copy');
  const rate = new Rate();
  let saidAtMs = Number.NEGATIVE_INFINITY;
  try {
    for (;;) {
      const head = await from.head();
      // Asked before the copying: what it writes until it ends is then still copied.
      const writers = await watch.present();
      let last = 0n;
      const position = await copyLog({
        from,
        to,
        signal,
        onProgress({ events, position }) {
          rate.count(events, last, position);
          last = position;
          showPace(progress, rate, position, head);
        },
      });
      if (signal.aborted) throw interrupted();
      if (writers.length === 0) return position;
      if (performance.now() - saidAtMs > SAY_INTERVAL_MS) {
        saidAtMs = performance.now();
        process.stderr.write(`${await howFarBehind(from, position)} ${untilWhen(writers)}\n`);
      }
      await sleep(LOOK_INTERVAL_MS, signal);
      if (signal.aborted) throw interrupted();
    }
  } finally {
    progress.end();
  }
}

async function howFarBehind(from: OpenEventStore, position: Position): Promise<string> {
  let events = 0;
  for await (const batch of from.readAll({ after: position })) events += batch.events.length;
  return `The copy is ${events} events behind.`;
}

function untilWhen(writers: readonly string[]): string {
  const names = writers.map(visible).join(', ');
  return (
    `It ends once the service is stopped (${names}), or has been silent for ` +
    `${PRESENCE_MS / 1_000} s.`
  );
}

async function compare(
  from: OpenEventStore,
  to: OpenEventStore,
  until: Position,
  signal: AbortSignal,
): Promise<LogDigest> {
  const progress = showProgress('verification');
  const rate = new Rate();
  try {
    const [expected, found] = await Promise.all([
      digestOf(from, {
        until,
        signal,
        onProgress: (position) => showPace(progress, rate, position, until),
      }),
      digestOf(to, { signal, onProgress: () => undefined }),
    ]);
    if (signal.aborted) throw interrupted();
    if (expected.events !== found.events || expected.sha256 !== found.sha256) {
      throw new CopyRefusedError(
        `The copy is not the log: ${expected.events} events with digest ${expected.sha256}, ` +
          `and ${found.events} with ${found.sha256}. Copy again, into a log that is empty.`,
      );
    }
    return expected;
  } finally {
    progress.end();
  }
}

function showPace(progress: Progress, rate: Rate, position: bigint, target: bigint): void {
  progress.show({
    position,
    target,
    percent: target === 0n ? 100 : Math.min(100, (100 * Number(position)) / Number(target)),
    eventsPerSecond: rate.eventsPerSecond(),
    secondsLeft: null,
  });
}

async function report(
  from: OpenEventStore,
  to: OpenEventStore,
  { events, sha256 }: LogDigest,
  json: boolean,
): Promise<void> {
  if (json) {
    await printJson({ from: from.logId, to: to.logId, events, sha256 });
    return;
  }
  if (events === 0) process.stderr.write(`The log ${from.logId} is empty.\n`);
  await print(
    `Copied the log ${from.logId} to ${to.logId}: ${events} events, the same by SHA-256 ` +
      `(${sha256}).\n`,
  );
}

function interrupted(): Interrupted {
  process.stderr.write('Interrupted: run the same command again to resume.\n');
  return new Interrupted();
}
