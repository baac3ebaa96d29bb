import { randomUUID } from 'node:crypto';
import type { CommandContext } from '../commands/core/context.ts';
import { formatApiKey, mintKey } from '../commands/tenancy/api-keys.ts';
import type { TenancyCommands } from '../commands/tenancy/commands.ts';
import { derivedEntropy, type Entropy } from '../shared/ids.ts';

export const PROJECT = 'demo';
const DEVICES = 24;
/** They hold the SIM cards in turn; that of the last device belongs to no organization. */
const ORGANIZATIONS = ['waterworks', 'brewery'] as const;
const ACTOR = 'system:demo';

export interface DemoDevice {
  readonly deviceId: string;
  readonly sensorId: string;
  readonly simCardId: string;
  readonly keyId: string;
  readonly key: string;
}

interface Parts {
  readonly tenancy: TenancyCommands;
  /** What the keys are derived from: they are the same with each start. */
  readonly secret: Buffer;
}

/** Makes the project where it is missing, and gives the key of its owner. */
export async function registerProject({ tenancy, secret }: Parts, now: Date): Promise<string> {
  await tenancy.ensureProject(PROJECT, ACTOR, () => now);
  const owner = mintKey('mem', entropyOf(secret), now, 'owner');
  await tenancy.issueKey({ kind: 'mem', id: 'owner' }, owner.newKey, context());
  return formatApiKey(owner.apiKey);
}

/** Registers the devices that are missing, and assigns their SIM cards. */
export async function registerFleet(
  { tenancy, secret }: Parts,
  now: Date,
): Promise<readonly DemoDevice[]> {
  const devices: DemoDevice[] = [];
  for (let number = 1; number <= DEVICES; number += 1) {
    const deviceId = `pump-${number}`;
    const sensorId = `${deviceId}-flow`;
    const simCardId = `8944${String(number).padStart(4, '0')}`;
    const key = mintKey('dev', entropyOf(secret), now, deviceId);
    const { status } = await tenancy.devices.state(PROJECT, deviceId);
    if (status === 'missing') {
      const links = { devEui: null, simCardId, sensorId };
      const device = { deviceId, links, createdAt: now.toISOString(), key: key.newKey };
      await tenancy.devices.register(device, context());
    }
    const orgId = ORGANIZATIONS[number % ORGANIZATIONS.length];
    if (number < DEVICES && orgId !== undefined) {
      await tenancy.assignSim({ simCardId, orgId, now }, context());
    }
    const { id: keyId } = key.apiKey;
    devices.push({ deviceId, sensorId, simCardId, keyId, key: formatApiKey(key.apiKey) });
  }
  return devices;
}

function entropyOf(secret: Buffer): Entropy {
  return derivedEntropy(secret, ['demo']);
}

function context(): CommandContext {
  return { projectId: PROJECT, actor: ACTOR, correlationId: randomUUID() };
}
