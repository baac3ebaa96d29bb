import { describe, expect, test } from 'vitest';
import { CommandGroup } from '../../../src/commands/core/command-group.ts';
import { deviceDecider } from '../../../src/commands/tenancy/device-decider.ts';
import { DeviceCommands } from '../../../src/commands/tenancy/device-commands.ts';
import type { CommandContext, CommandIdentity } from '../../../src/commands/core/context.ts';
import type { LinkedDevices } from '../../../src/commands/core/command-parts.ts';
import { deviceStream } from '../../../src/commands/tenancy/device-decider.ts';
import { LedgerError } from '../../../src/shared/errors.ts';
import { newIdentity } from '../core/meter.ts';
import { context, prepareWriteProcesses, type WriteProcess } from '../core/write-process.ts';

const start = prepareWriteProcesses();
const NOON = '2026-01-31T12:00:00.000Z';
const NO_LINKS = { devEui: null, simCardId: null, sensorId: null };

let names = 0;

interface Links {
  readonly simCardId?: string | null;
}

/** A device and a SIM card of the test's own, another device, and what is done with them. */
async function prepare(linkedDevices: LinkedDevices = () => Promise.resolve([])) {
  const process = await start();
  const devices = new DeviceCommands({ ...process, linkedDevices });
  names += 1;
  const [deviceId, other, simCardId] = [`d${names}`, `other${names}`, `sim${names}`];
  const register = (id: string, links: Links = {}, more: Partial<CommandContext> = {}) => {
    const key = { keyId: `k-${id}`, secretHash: 'h', issuedAt: NOON };
    const device = { deviceId: id, links: { ...NO_LINKS, ...links }, createdAt: NOON, key };
    return devices.register(device, { ...context, ...more });
  };
  const change = (id: string, links: Links, more: Partial<CommandContext> = {}) =>
    devices.change(id, links, { ...context, ...more });
  return { process, deviceId, other, simCardId, register, change };
}

function claimsIn({ store }: WriteProcess): number {
  return store.appended.filter(
    ({ write, answer }) => write.stream.startsWith('link-') && answer.outcome === 'appended',
  ).length;
}

describe('a row of a table whose link could not be claimed', () => {
  test('keeps later rows of its device from beginning, so that all can be sent again', async () => {
    const { process, deviceId, simCardId, register } = await prepare();
    const cause = await newIdentity(process);
    const rows = (group: CommandGroup) =>
      Promise.allSettled([
        register(deviceId, { simCardId }, { group, identity: { ...cause, ordinal: 0 } }),
        register(deviceId, {}, { group, identity: { ...cause, ordinal: 1 } }),
      ]);
    process.store.failNextAppend('link', 'before it is stored');
    const unavailable = { status: 'rejected', reason: { code: 'store-unavailable' } };
    expect(await rows(new CommandGroup())).toMatchObject([unavailable, unavailable]);

    expect(await rows(new CommandGroup())).toMatchObject([
      { status: 'fulfilled', value: { outcome: 'recorded' } },
      { status: 'rejected', reason: { code: 'device-exists' } },
    ]);
  });

  test('since another device had it is refused again when it is sent again', async () => {
    const { process, deviceId, other, simCardId, register, change } = await prepare();
    await register(other, { simCardId });
    const cause = await newIdentity(process);
    const row = (ordinal: number, links: Links) => {
      const identity: CommandIdentity = { ...cause, ordinal };
      return register(deviceId, links, { group: new CommandGroup(), identity });
    };
    await expect(row(0, { simCardId })).rejects.toMatchObject({ code: 'link-taken' });
    await row(1, {});
    await change(other, { simCardId: null });

    await expect(row(0, { simCardId })).rejects.toMatchObject({ code: 'link-taken' });
    expect(await row(1, {})).toMatchObject({ outcome: 'repeated' });
  });
});

describe('a change of links', () => {
  test('that is recorded is answered again, and claims nothing, whoever has the link', async () => {
    const { process, deviceId, other, simCardId, register, change } = await prepare();
    await register(deviceId);
    await register(other);
    const identity = await newIdentity(process);
    const recorded = await change(deviceId, { simCardId }, { identity });
    const { position } = recorded;
    const repeated = { outcome: 'repeated', position, state: { links: { simCardId } } };

    await change(deviceId, { simCardId: null });
    const claims = claimsIn(process);
    expect(await change(deviceId, { simCardId }, { identity })).toMatchObject(repeated);
    expect(claimsIn(process)).toBe(claims);

    await change(other, { simCardId });
    expect(await change(deviceId, { simCardId }, { identity })).toMatchObject(repeated);
  });

  test('whose precondition is not met claims nothing', async () => {
    const { process, deviceId, simCardId, register, change } = await prepare();
    await register(deviceId);
    const precondition = () => {
      throw new LedgerError('precondition-failed', 'It has changed.');
    };
    await expect(change(deviceId, { simCardId }, { precondition })).rejects.toMatchObject({
      code: 'precondition-failed',
    });
    expect(claimsIn(process)).toBe(0);
  });
});

test('a device with links is registered while the tables of a moved log are being built', async () => {
  const { process, deviceId, simCardId, register } = await prepare(() =>
    Promise.reject(new LedgerError('read-model-behind', 'It is being built.')),
  );
  await register(deviceId, { simCardId });
  const { state } = await process.handler.peek(deviceDecider, deviceStream('acme', deviceId), 0);
  expect(state).toMatchObject({ links: { simCardId } });
});
