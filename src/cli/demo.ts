import path from 'node:path';
import type { Command } from 'commander';
import { formatApiKey, mintKey } from '../commands/tenancy/api-keys.ts';
import { loadConfig, type Config } from '../config.ts';
import { installationSecret } from '../database/installation-secret.ts';
import { startSimulator, type Simulator } from '../lorawan/simulator/simulator.ts';
import { startService, type RunningService } from '../service/service.ts';
import type { Ledger } from '../service/ledger.ts';
import { systemClock } from '../shared/clock.ts';
import { derivedEntropy } from '../shared/ids.ts';
import { DemoFleet, type DemoDevice } from './demo-fleet.ts';
import { runUntilAskedToEnd } from './serve.ts';
import { context } from './with-ledger.ts';

export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('serve, with a simulated provider and a fleet that lives')
    .action(() => runUntilAskedToEnd(startDemo(loadConfig())));
}

const PROJECT = 'demo';
const DEVICES = 8;
/** They hold the SIM cards in turn; that of the last device belongs to no organization. */
const ORGANIZATIONS = ['waterworks', 'brewery'] as const;
/**
 * A batch resumes with the provider that it began with, by its address, so the port is fixed.
 */
const PROVIDER_PORT = 8090;

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
async function prepareFleet({ commands: { tenancy }, database }: Ledger): Promise<DemoKeys> {
  await tenancy.ensureProject(PROJECT, 'system:demo', systemClock);
  const now = systemClock();
  const entropy = derivedEntropy(await installationSecret(database), ['demo']);
  const owner = mintKey('mem', entropy, now, 'owner');
  await tenancy.issueKey({ kind: 'mem', id: 'owner' }, owner.newKey, context(PROJECT));
  const devices: DemoDevice[] = [];
  for (let number = 1; number <= DEVICES; number += 1) {
    const deviceId = `pump-${number}`;
    const sensorId = `${deviceId}-flow`;
    const simCardId = `8944000${number}`;
    const key = mintKey('dev', entropy, now, deviceId);
    const { situation } = await tenancy.devices.state(PROJECT, deviceId);
    if (situation === 'missing') {
      const links = { devEui: null, simCardId, sensorId };
      const device = { deviceId, links, createdAt: now.toISOString(), key: key.newKey };
      await tenancy.devices.register(device, context(PROJECT));
    }
    const orgId = ORGANIZATIONS[number % ORGANIZATIONS.length];
    if (number < DEVICES && orgId !== undefined) {
      await tenancy.assignSim({ simCardId, orgId, now }, context(PROJECT));
    }
    devices.push({ deviceId, sensorId, simCardId, key: formatApiKey(key.apiKey) });
  }
  return { owner: formatApiKey(owner.apiKey), devices };
}

function greet(url: string, simulator: Simulator, { owner, devices }: DemoKeys): void {
  const today = systemClock().toISOString().slice(0, 10);
  process.stdout.write(
    [
      `A fleet of ${devices.length} devices lives in the project '${PROJECT}'. The key of ` +
        'its owner:',
      '',
      `  ${owner}`,
      '',
      'Those of the devices:',
      '',
      ...devices.map(({ deviceId, key }) => `  ${deviceId}  ${key}`),
      '',
      `The provider's own list of DevEUIs: ${simulator.url}/registered`,
      '',
      'Look at it:',
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
