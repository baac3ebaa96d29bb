import { LedgerError } from '../shared/errors.ts';
import type { CommandContext, CommandHandler, Handled } from './handler.ts';
import { notFound } from './key-set.ts';
import {
  deviceDecider,
  deviceStream,
  projectDecider,
  projectStream,
  type DeviceCommand,
  type DeviceState,
} from './tenancy.ts';

export interface DeviceTransfer {
  readonly deviceId: string;
  readonly from: string;
  readonly to: string;
  readonly now: Date;
}

/**
 * A device goes to another project, with its links and the keys that it has: nobody can go and change them in
 * the field. What it reported stays where that was reported.
 *
 * Two streams, hence several appends: the intent, after which nothing else about the device changes and no
 * other project can have it; its reception there; its leaving here. Whatever comes between them, the same again
 * finishes it, as each knows what it has done.
 *
 * @throws LedgerError `not-found`, `device-retired`, `device-transferred` (to another project than that),
 *   `device-exists`, `validation-failed`
 */
export async function transferDevice(
  handler: CommandHandler,
  { deviceId, from, to, now }: DeviceTransfer,
  command: (ordinal: number) => CommandContext,
): Promise<Handled<DeviceState>> {
  const execute = (
    project: string,
    ordinal: number,
    change: DeviceCommand,
  ): Promise<Handled<DeviceState>> =>
    handler.execute(deviceDecider, deviceStream(project, deviceId), change, {
      ...command(ordinal),
      projectId: project,
    });
  const source = await handler.peek(deviceDecider, deviceStream(from, deviceId), 0);
  if (source.state.situation === 'missing') throw notFound();
  if (from === to) throw refused('is the project that it is in');
  await requireFree(handler, to, deviceId, from);
  await execute(from, 0, { type: 'start-transfer', deviceId, to });
  const { state } = await handler.peek(deviceDecider, deviceStream(from, deviceId), 0);
  if (state.situation === 'missing') throw new Error(`the device ${deviceId} has gone`);
  const keys = Object.entries(state.keys).flatMap(([keyId, { secretHash, issuedAt, isRevoked }]) =>
    isRevoked ? [] : [{ keyId, secretHash, issuedAt }],
  );
  // One that is there already has been received, by a run of this that did not come further.
  if (state.situation === 'leaving') {
    const createdAt = now.toISOString();
    const { links } = state;
    await execute(to, 1, { type: 'receive', deviceId, links, createdAt, from, keys }).catch(
      async (error: unknown) => {
        // Somebody was faster, and has another device by that name there now.
        if (error instanceof LedgerError && error.code === 'device-exists') {
          await execute(from, 2, { type: 'cancel-transfer', deviceId });
        }
        throw error;
      },
    );
  }
  return execute(from, 2, { type: 'finish-transfer', deviceId });
}

/** Before the intent, which only a reception ends. */
async function requireFree(
  handler: CommandHandler,
  projectId: string,
  deviceId: string,
  from: string,
): Promise<void> {
  const project = await handler.peek(projectDecider, projectStream(projectId), 0);
  if (project.state.situation === 'missing') throw refused('must be a project that is there');
  const { state } = await handler.peek(deviceDecider, deviceStream(projectId, deviceId), 0);
  if (state.situation === 'missing' || state.situation === 'transferred') return;
  if (state.situation === 'active' && state.from === from) return;
  throw new LedgerError(
    'device-exists',
    `There is, or was, a device '${deviceId}' in that project: it cannot be received there.`,
  );
}

function refused(message: string): LedgerError {
  return new LedgerError('validation-failed', `Mend body.to: it ${message}.`, {
    fields: [{ path: 'body.to', message }],
  });
}
