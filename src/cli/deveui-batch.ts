import { setTimeout as delay } from 'node:timers/promises';
import { InvalidArgumentError, type Command } from 'commander';
import { BATCH_LIMITS, batchStream } from '../commands/deveui/decider.ts';
import {
  MAX_PREFIX_DIGITS,
  PREFIX_PATTERN,
  shortCodeOf,
  shortCodesBehind,
} from '../commands/deveui/drawing.ts';
import type { BatchTracker } from '../commands/deveui/batch-tracker.ts';
import { loadConfig } from '../config.ts';
import type { Ledger } from '../service/ledger.ts';
import { openProvisioning, type OpenProvisioning } from '../service/provisioning.ts';
import { systemClock } from '../shared/clock.ts';
import { isTransient } from '../shared/errors.ts';
import { hexDigits } from '../shared/hex-digits.ts';
import { randomEntropy, shortId } from '../shared/ids.ts';
import { projectId, wholeNumber } from './arguments.ts';
import { showBatchProgress } from './batch-progress.ts';
import { ExitCode, Interrupted, UsageError } from './ending.ts';
import { print, printJson } from './output.ts';
import { context, withLedger } from './with-ledger.ts';

const { maxSize, defaultSize, maxConcurrency } = BATCH_LIMITS;

export function addDevEuiBatchCommand(program: Command): void {
  program
    .command('deveui-batch <lorawan-api-url>')
    .description('register a batch of DevEUIs with a LoRaWAN provider and print them')
    .option(
      '--batch-size <n>',
      `number of DevEUIs, 1 to ${maxSize} (default: ${defaultSize})`,
      wholeNumber(1, maxSize),
    )
    .option(
      '--concurrency <n>',
      `requests in flight, 1 to ${maxConcurrency} (default: ${maxConcurrency})`,
      wholeNumber(1, maxConcurrency),
    )
    .option(
      '--timeout <seconds>',
      'limit of one request (default: LORAWAN_TIMEOUT_MS, or 15)',
      seconds,
    )
    .option('--prefix <hex>', 'leading hex digits of each DevEUI', prefix)
    .option(
      '--project <id>',
      'project of the DevEUIs; created if it is missing',
      projectId,
      'default',
    )
    .option('--resume <id>', 'resume this batch instead of starting one')
    .option('--json', 'print {"deveuis":[…]}')
    .action(registerBatch);
}

interface BatchOptions {
  readonly batchSize?: number;
  readonly concurrency?: number;
  readonly timeout?: number;
  readonly prefix?: string;
  readonly project: string;
  readonly resume?: string;
  readonly json?: true;
}

const LOOK_INTERVAL_MS = 100;

async function registerBatch(url: string, options: BatchOptions): Promise<void> {
  refuseUnusable(url, options);
  const config = loadConfig();
  await withLedger(async (ledger, signal) => {
    const provisioning = openProvisioning(ledger, {
      ...config.lorawan,
      ...(options.timeout !== undefined && { timeoutMs: options.timeout * 1_000 }),
      url,
    });
    const batchId = options.resume ?? shortId(randomEntropy()('batch:id', 16));
    const stream = batchStream(options.project, batchId);
    const batch = ledger.commands.deveui.track(options.project, batchId);
    try {
      await beginOrResume(ledger, provisioning, { ...options, batchId });
      // Where a service leads, that does the work, and this process follows it. Where none does,
      // this one leads, and works on nothing else: the time-outs and the key are those of whoever
      // called it.
      provisioning.start(stream);
      await followToTheEnd(ledger, batch, { batchId, project: options.project, signal });
    } finally {
      await provisioning.stop();
      // An error must not hide what is registered, which is paid for.
      await printResult(batch, batchId, options.json === true);
    }
    // The last request in flight may have completed it: then there is nothing to resume.
    if (batch.isCompleted) return;
    if (signal.aborted) throw new Interrupted();
    process.exitCode = ExitCode.failed;
  });
}

async function beginOrResume(
  { commands: { deveui, tenancy } }: Ledger,
  { provider: { address: provider } }: OpenProvisioning,
  options: BatchOptions & { readonly batchId: string },
): Promise<void> {
  const { batchId, project, resume, concurrency } = options;
  const now = systemClock().toISOString();
  if (resume === undefined) {
    await tenancy.ensureProject(project, context().actor, systemClock);
    const batch = {
      batchId,
      size: options.batchSize ?? defaultSize,
      prefix: options.prefix ?? '',
      seed: randomEntropy()('batch:seed', 32).toString('hex'),
      provider,
      concurrency: concurrency ?? maxConcurrency,
      requestedAt: now,
    };
    await deveui.request(batch, context(project));
  } else {
    const resumed = { provider, ...(concurrency !== undefined && { concurrency }), resumedAt: now };
    await deveui.resume(batchId, resumed, context(project));
  }
  process.stderr.write(`Batch ${batchId}\n`);
}

/** Until it is done, whichever process does it. When asked to end, it is stopped first. */
async function followToTheEnd(
  { commands }: Ledger,
  batch: BatchTracker,
  {
    batchId,
    project,
    signal,
  }: { readonly batchId: string; readonly project: string; readonly signal: AbortSignal },
): Promise<void> {
  const progress = showBatchProgress();
  let isStopped = false;
  try {
    for (;;) {
      try {
        if (signal.aborted && !isStopped) {
          await commands.deveui.stop(batchId, context(project));
          isStopped = true;
        }
        await batch.catchUp();
        if (batch.isDone) return;
      } catch (error) {
        // The store is back in a while, and whoever works on the batch waits for it, too.
        if (!isTransient(error)) throw error;
      }
      const { size, registered, conflictedCount: conflicted } = batch;
      progress.show({ size, registered: registered.length, conflicted });
      await delay(LOOK_INTERVAL_MS, undefined, signal.aborted ? {} : { signal }).catch(
        () => undefined,
      );
    }
  } finally {
    progress.end();
  }
}

async function printResult(batch: BatchTracker, batchId: string, isJson: boolean): Promise<void> {
  const { registered, unconfirmed, notKnown, size, reason } = batch;
  if (size === 0) return;
  if (isJson) await printJson({ deveuis: registered });
  else await print(registered.map((devEui) => `${shortCodeOf(devEui)}  ${devEui}\n`).join(''));
  const lines = [
    `${registered.length} of ${size} are registered, ${batch.conflictedCount} were in use.`,
  ];
  if (unconfirmed.length > 0) {
    const why = 'as no answer to an earlier request came (in use, perhaps by you)';
    lines.push(`Unconfirmed, ${why}: ${unconfirmed.join(' ')}`);
  }
  if (notKnown.length > 0) {
    lines.push(`Unknown until the batch is resumed: ${notKnown.join(' ')}`);
  }
  if (reason !== undefined) lines.push(`The batch failed: ${reason}.`);
  if (!batch.isCompleted) lines.push(`Resume it with --resume ${batchId}`);
  process.stderr.write(lines.map((line) => `${line}\n`).join(''));
}

function refuseUnusable(url: string, { batchSize, prefix, resume }: BatchOptions): void {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new UsageError(
      `'${url}' is not the URL of a provider: it must begin with http:// or https://.`,
    );
  }
  if (resume !== undefined && (batchSize !== undefined || prefix !== undefined)) {
    throw new UsageError('A batch that is resumed keeps its size and prefix: leave them out.');
  }
  const most = shortCodesBehind(prefix ?? '');
  if ((batchSize ?? defaultSize) > most) {
    throw new UsageError(`The prefix ${prefix} leaves only ${most} short codes.`);
  }
}

function seconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 0.1 && value <= 600) return value;
  throw new InvalidArgumentError('It must be a number of seconds, 0.1 to 600.');
}

function prefix(text: string): string {
  if (PREFIX_PATTERN.test(text)) return hexDigits(text);
  throw new InvalidArgumentError(`It must be at most ${MAX_PREFIX_DIGITS} hex digits.`);
}
