import path from 'node:path';
import type { Command } from 'commander';
import { loadConfig, type Config } from '../config.ts';
import { startSimulator, type Simulator } from '../lorawan/simulator/simulator.ts';
import { startService, type RunningService } from '../service/service.ts';
import type { Ledger } from '../service/ledger.ts';
import { systemClock } from '../shared/clock.ts';
import { PROJECT, registerFleet, registerProject, type DemoDevice } from './demo-devices.ts';
import { DemoFleet } from './demo-fleet.ts';
import { writeHistory } from './demo-history.ts';
import { runUntilAskedToEnd } from './serve.ts';

export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('run the service with a simulated provider and fleet')
    .action(() => runUntilAskedToEnd(startDemo(loadConfig())));
}

/**
 * A batch resumes with the provider that it began with, by its address, so the port is fixed.
 */
const PROVIDER_PORT = 8090;

/** The keys of more would fill the terminal. */
const SHOWN_DEVICES = 3;

interface DemoKeys {
  readonly owner: string;
  readonly devices: readonly DemoDevice[];
}

async function startDemo(settings: Config): Promise<Pick<RunningService, 'running' | 'stop'>> {
  const simulator = await startProvider(settings);
  // Whatever provider is configured: that would be paid for each DevEUI.
  const config = {
    ...settings,
    lorawanApiUrl: simulator.url,
    lorawan: { ...settings.lorawan, apiKey: undefined },
  };
  let keys: DemoKeys = { owner: '', devices: [] };
  const service = await startService(config, async (ledger) => {
    keys = await prepareFleet(ledger);
  });
  const { server } = service;
  const fleet = server && new DemoFleet(server.url, keys.owner, keys.devices);
  if (server !== undefined) greet(server.url, simulator, keys);
  fleet?.start();
  return {
    running: service.running,
    async stop() {
      await fleet?.stop();
      await service.stop();
      await simulator.close();
    },
  };
}

async function startProvider({ dataDir }: Config): Promise<Simulator> {
  const options = {
    latencyMs: 150,
    conflictRate: 0.05,
    lostAnswerRate: 0.01,
    logFile: path.resolve(`${dataDir}-simulated-provider.ndjson`),
  };
  return startSimulator({ ...options, port: PROVIDER_PORT }).catch((error: unknown) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error;
    return startSimulator(options);
  });
}

/** The project, its devices and their keys: the same with each start, as the keys are derived. */
async function prepareFleet(ledger: Ledger): Promise<DemoKeys> {
  const secret = ledger.installationSecret;
  await writeHistory(ledger, secret);
  const parts = { tenancy: ledger.commands.tenancy, secret };
  const now = systemClock();
  const owner = await registerProject(parts, now);
  return { owner, devices: await registerFleet(parts, now) };
}

function greet(url: string, simulator: Simulator, { owner, devices }: DemoKeys): void {
  const today = systemClock().toISOString().slice(0, 10);
  process.stdout.write(
    [
      `A fleet of ${devices.length} devices lives in the project '${PROJECT}', with a month ` +
        'of history.',
      '',
      `Open the console: ${url}/console/`,
      '',
      'Enter the key of its owner there (and the admin key above, for the operations):',
      '',
      `  ${owner}`,
      '',
      'Devices have keys of their own:',
      '',
      ...devices.slice(0, SHOWN_DEVICES).map(({ deviceId, key }) => `  ${deviceId}  ${key}`),
      '',
      `The provider's own list of DevEUIs: ${simulator.url}/registered`,
      '',
      'Ask the API:',
      '',
      ...[
        'devices',
        'devices/pump-1/timeline',
        'firmware/versions',
        'sensors',
        'batches',
        'usage/organizations',
        `organization/waterworks/usage?start=${today}&end=${today}T23:00:00Z&every=1hour`,
      ].map((path) => `  curl '${url}/api/v1/${path}' -H 'Authorization: Bearer ${owner}'`),
      '',
    ]
      .map((line) => `${line}\n`)
      .join(''),
  );
}
