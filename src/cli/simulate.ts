import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { sumOfRates, type FaultRates } from '../lorawan/simulator/faults.ts';
import { startSimulator, type Simulator } from '../lorawan/simulator/simulator.ts';
import { rate, wholeNumber } from './arguments.ts';
import { ExitCode, onAskedToEnd, UsageError } from './ending.ts';
import { print } from './output.ts';
import { addSimulateUsageCommand } from './simulate-usage.ts';
import { errorMessage } from '../shared/errors.ts';

export function addSimulateCommand(program: Command): void {
  const simulate = program
    .command('simulate')
    .description('simulate a provider or usage, to try the service');

  simulate
    .command('lorawan')
    .description('simulate a LoRaWAN provider that fails as often as you say')
    .option('--port <n>', 'port on 127.0.0.1; 0 for any free one', wholeNumber(0, 65_535), 8090)
    .option('--latency <ms>', 'time from a request to its answer', wholeNumber(0, 600_000), 50)
    .option('--conflicts <rate>', 'share of DevEUIs that are already in use, 0 to 1', rate, 0)
    .option('--timeouts <rate>', 'rate of requests that are never answered', rate, 0)
    .option('--resets <rate>', 'rate of requests whose connection is reset', rate, 0)
    .option('--errors <rate>', 'rate of requests that are answered with 500', rate, 0)
    .option('--unavailable <rate>', 'rate of requests that are answered with 503', rate, 0)
    .option('--garbage <rate>', 'rate of requests that are answered with invalid HTTP', rate, 0)
    .option(
      '--lost-answers <rate>',
      'rate of requests that register, and then reset the connection',
      rate,
      0,
    )
    .option('--lost-hangs <rate>', 'rate of requests that register and are never answered', rate, 0)
    .option('--lenient', 'accept any code of letters and digits as a DevEUI')
    .option('--log <file>', 'file that keeps registered DevEUIs across restarts')
    .option('--api-key <key>', 'accept only requests with this key')
    .option('--tls-key <file>', 'private key file of the certificate, for HTTPS')
    .option('--tls-cert <file>', 'certificate file')
    .action(simulateLorawan);

  addSimulateUsageCommand(simulate);
}

/** The simulator cannot start, for a reason that the user can fix. */
export class SimulatorStartError extends Error {
  override readonly name = 'SimulatorStartError';
}

interface LorawanOptions {
  readonly port: number;
  readonly latency: number;
  readonly conflicts: number;
  readonly timeouts: number;
  readonly resets: number;
  readonly errors: number;
  readonly unavailable: number;
  readonly garbage: number;
  readonly lostAnswers: number;
  readonly lostHangs: number;
  readonly lenient?: true;
  readonly log?: string;
  readonly apiKey?: string;
  readonly tlsKey?: string;
  readonly tlsCert?: string;
}

async function simulateLorawan(options: LorawanOptions): Promise<void> {
  const simulator = await start(options);
  onAskedToEnd(() => {
    process.stderr.write(`${JSON.stringify(simulator.stats())}\n`);
    process.exit(ExitCode.done);
  }, ExitCode.done);
  await print(`The LoRaWAN provider simulator is on ${simulator.url} (GET /registered, /stats).\n`);
}

/** @throws UsageError, SimulatorStartError */
async function start(options: LorawanOptions): Promise<Simulator> {
  const faults: FaultRates = {
    hangRate: options.timeouts,
    resetRate: options.resets,
    errorRate: options.errors,
    unavailableRate: options.unavailable,
    garbageRate: options.garbage,
    lostAnswerRate: options.lostAnswers,
    lostHangRate: options.lostHangs,
  };
  // Sums of decimals are a little beside: ten times 0.1 is less than 1, and others are more.
  if (sumOfRates(faults) > 1 + 1e-9) {
    throw new UsageError(
      'The sum of all rates must be at most 1, since a request has one fault at most.',
    );
  }
  const { tlsKey, tlsCert } = options;
  if ((tlsKey === undefined) !== (tlsCert === undefined)) {
    throw new UsageError('Give both --tls-key and --tls-cert, or neither.');
  }
  try {
    const tls =
      tlsKey === undefined || tlsCert === undefined
        ? undefined
        : { key: await readFile(tlsKey), cert: await readFile(tlsCert) };
    return await startSimulator({
      ...faults,
      port: options.port,
      latencyMs: options.latency,
      conflictRate: options.conflicts,
      isLenient: options.lenient === true,
      onFirstMalformed: sayMalformed,
      logFile: options.log,
      apiKey: options.apiKey,
      tls,
    });
  } catch (error) {
    throw new SimulatorStartError(startFailure(error, options.port), { cause: error });
  }
}

function sayMalformed(text: string): void {
  const shown = JSON.stringify(text.slice(0, 64));
  process.stderr.write(
    `A client sent ${shown} as a DevEUI and is answered 422: a DevEUI has 16 hexadecimal digits. ` +
      'Start the simulator with --lenient to accept it.\n',
  );
}

function startFailure(error: unknown, port: number): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE') return `Port ${port} is in use: choose another one with --port.`;
  const reason = errorMessage(error);
  return `The simulator does not start: ${reason}.`;
}
