import { setTimeout as delay } from 'node:timers/promises';
import { InvalidArgumentError, type Command } from 'commander';
import { batchDecider, batchStream, isDone, type BatchState } from '../commands/deveui.ts';
import { MAX_PREFIX_DIGITS, shortCodeOf, shortCodesBehind } from '../commands/deveui-drawing.ts';
import { ensureProject } from '../commands/ensured-project.ts';
import { loadConfig } from '../config.ts';
import type { BatchEvent } from '../events/deveui.ts';
import { domainEvent } from '../events/registry.ts';
import type { StreamName } from '../event-store/stream-name.ts';
import type { Ledger } from '../main/ledger.ts';
import { openProvisioning, type OpenProvisioning } from '../main/provisioning.ts';
import { systemClock } from '../shared/clock.ts';
import { randomEntropy, shortId } from '../shared/ids.ts';
import { projectId, wholeNumber } from './arguments.ts';
import { showBatchProgress } from './batch-progress.ts';
import { ExitCode, Interrupted, UsageError } from './ending.ts';
import { print, printJson } from './output.ts';
import { context, withLedger } from './with-ledger.ts';

export function addDevEuiBatchCommand(program: Command): void {
  program
    .command('deveui-batch <lorawan-api-url>')
    .description('register a batch of DevEUIs with a LoRaWAN provider, and print them')
    .option('--batch-size <n>', 'how many, 1 to 10000', wholeNumber(1, 10_000), 100)
    .option('--concurrency <n>', 'requests at a time, 1 to 10', wholeNumber(1, 10), 10)
    .option('--timeout <seconds>', 'of one request', seconds)
    .option('--prefix <hex>', 'the leading digits of each DevEUI', prefix, '')
    .option('--project <id>', 'whose they are; it is made if it is missing', projectId, 'default')
    .option('--resume <id>', 'go on with this batch instead of beginning one')
    .option('--json', 'as {"deveuis":[…]}')
    .action(registerBatch);
}

interface BatchOptions {
  readonly batchSize: number;
  readonly concurrency: number;
  readonly timeout?: number;
  readonly prefix: string;
  readonly project: string;
  readonly resume?: string;
  readonly json?: true;
}

const ACTOR = 'system:cli';
const LOOK_INTERVAL_MS = 100;

async function registerBatch(url: string, options: BatchOptions): Promise<void> {
  refuseUnusable(url, options);
  const config = loadConfig();
  await withLedger(async (ledger, signal) => {
    await ensureProject(ledger.handler, options.project, ACTOR, systemClock);
    const provisioning = openProvisioning(ledger, {
      ...config.lorawan,
      ...(options.timeout !== undefined && { timeoutMs: options.timeout * 1_000 }),
      url,
    });
    let ended: FollowedBatch;
    try {
      const stream = await beginOrResume(ledger, provisioning, options);
      // A service that leads for this provider does the work, and this process follows it.
      provisioning.start();
      ended = await followToTheEnd(ledger, stream, options.project, signal);
    } finally {
      await provisioning.stop();
    }
    await printResult(ended, options.json === true);
    // Also when the last request in flight made it whole: then there is nothing to be resumed.
    if (ended.state.situation === 'completed') return;
    if (signal.aborted) throw new Interrupted();
    process.exitCode = ExitCode.failed;
  });
}

async function beginOrResume(
  { handler }: Ledger,
  { provider }: OpenProvisioning,
  { batchSize, concurrency, prefix, project, resume }: BatchOptions,
): Promise<StreamName> {
  const entropy = randomEntropy();
  const batchId = resume ?? shortId(entropy('batch:id', 16));
  const stream = batchStream(project, batchId);
  const command =
    resume === undefined
      ? ({
          type: 'request',
          batchId,
          size: batchSize,
          prefix,
          seed: entropy('batch:seed', 32).toString('hex'),
          provider: provider.address,
          concurrency,
          requestedAt: systemClock().toISOString(),
        } as const)
      : ({ type: 'resume', provider: provider.address, concurrency } as const);
  await handler.execute(batchDecider, stream, command, context(project));
  process.stderr.write(`Batch ${batchId}\n`);
  return stream;
}

interface FollowedBatch {
  readonly batchId: string;
  readonly state: Exclude<BatchState, { situation: 'missing' }>;
  readonly registered: readonly string[];
  readonly unconfirmed: readonly string[];
  readonly conflictedCount: number;
  readonly reason: string | undefined;
}

/** Until it is done, whichever process does it. When asked to end, it is stopped first. */
async function followToTheEnd(
  { handler, store }: Ledger,
  stream: StreamName,
  project: string,
  signal: AbortSignal,
): Promise<FollowedBatch> {
  const progress = showBatchProgress();
  const registered: string[] = [];
  const unconfirmed: string[] = [];
  let conflictedCount = 0;
  let reason: string | undefined;
  let next = 0n;
  let state = batchDecider.initialState;
  let isStopped = false;
  try {
    for (;;) {
      if (signal.aborted && !isStopped) {
        await handler.execute(batchDecider, stream, { type: 'stop' }, context(project));
        isStopped = true;
      }
      for await (const recorded of store.readStream(stream, { from: next })) {
        const event = domainEvent(recorded) as BatchEvent;
        state = batchDecider.evolve(state, event);
        next = recorded.revision + 1n;
        if (event.type === 'DevEuiRegistered') registered.push(event.data.devEui);
        else if (event.type === 'DevEuiUnconfirmed') unconfirmed.push(event.data.devEui);
        else if (event.type === 'DevEuiConflicted') conflictedCount += 1;
        else if (event.type === 'BatchFailed') ({ reason } = event.data);
      }
      if (state.situation === 'missing') throw new Error(`${stream} holds no batch`);
      progress.show({
        size: state.size,
        registered: registered.length,
        conflicted: conflictedCount,
      });
      if (isDone(state)) {
        const { batchId } = state;
        return { batchId, state, registered, unconfirmed, conflictedCount, reason };
      }
      await delay(LOOK_INTERVAL_MS, undefined, isStopped ? {} : { signal }).catch(() => undefined);
    }
  } finally {
    progress.end();
  }
}

async function printResult(batch: FollowedBatch, isJson: boolean): Promise<void> {
  const { batchId, state, registered, unconfirmed, conflictedCount, reason } = batch;
  if (isJson) await printJson({ deveuis: registered });
  else await print(registered.map((devEui) => `${shortCodeOf(devEui)}  ${devEui}\n`).join(''));
  const counts = `${registered.length} of ${state.size} are registered, ${conflictedCount} were in use`;
  const lines = [`${counts}.`];
  if (unconfirmed.length > 0) {
    lines.push(
      `Unconfirmed, as no answer to an earlier request came (in use, perhaps by you): ${unconfirmed.join(' ')}`,
    );
  }
  if (reason !== undefined && state.situation === 'failed') lines.push(`It failed: ${reason}.`);
  if (state.situation !== 'completed') lines.push(`Go on with --resume ${batchId}`);
  process.stderr.write(lines.map((line) => `${line}\n`).join(''));
}

function refuseUnusable(url: string, { batchSize, prefix }: BatchOptions): void {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new UsageError(`'${url}' is no URL of a provider: it begins with http:// or https://.`);
  }
  const most = shortCodesBehind(prefix);
  if (batchSize > most) {
    throw new UsageError(`Behind the prefix ${prefix} there are ${most} short codes only.`);
  }
}

function seconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 0.1 && value <= 600) return value;
  throw new InvalidArgumentError('It must be a number of seconds, 0.1 to 600.');
}

function prefix(text: string): string {
  if (/^[0-9A-Fa-f]*$/.test(text) && text.length <= MAX_PREFIX_DIGITS) return text.toUpperCase();
  throw new InvalidArgumentError(`It must be at most ${MAX_PREFIX_DIGITS} hex digits.`);
}
