import { LedgerError } from '../shared/errors.ts';
import {
  deviceDecider,
  hasAnother,
  type DeviceCommand,
  type DeviceState,
} from './device-decider.ts';
import type { DeviceCommands } from './devices.ts';
import type { CommandContext, CommandHandler, Handled } from './handler.ts';
import { notFound, own, type KeySet } from './key-set.ts';
import { deviceStream, projectDecider, projectStream } from './tenancy.ts';

export interface DeviceTransfer {
  readonly deviceId: string;
  readonly from: string;
  readonly to: string;
  /** The name of a new transfer; one that was begun before keeps its own. */
  readonly transferId: string;
  readonly now: Date;
}

/** The transfer as a command for one of the two projects; `ordinal` as of `CommandIdentity`. */
type Execute = (
  project: string,
  ordinal: number,
  command: DeviceCommand,
) => Promise<Handled<DeviceState>>;

/**
 * A device goes to another project, with its links and the keys that it has: nobody can go and change
 * them in the field. What it reported stays where that was reported.
 *
 * Two streams, hence several appends (decision 17): the intent, which names the transfer; what became
 * of that transfer there, received or refused; then its leaving here, or the end of the intent.
 * Whatever comes between them, also in the other project, the same request again finishes it.
 *
 * @throws LedgerError `not-found`, `device-retired`, `device-transferred` (to another project than that),
 *   `device-exists`, `link-taken`, `validation-failed`
 */
export async function transferDevice(
  { handler, devices }: { readonly handler: CommandHandler; readonly devices: DeviceCommands },
  transfer: DeviceTransfer,
  command: (ordinal: number) => CommandContext,
): Promise<Handled<DeviceState>> {
  const { deviceId, from, to, transferId } = transfer;
  const contextIn = (projectId: string, ordinal: number): CommandContext => ({
    ...command(ordinal),
    projectId,
  });
  const execute: Execute = (project, ordinal, change) =>
    handler.execute(
      deviceDecider,
      deviceStream(project, deviceId),
      change,
      contextIn(project, ordinal),
    );
  const peek = async (project: string): Promise<DeviceState> =>
    (await handler.peek(deviceDecider, deviceStream(project, deviceId), 0)).state;

  const source = await peek(from);
  if (source.situation === 'missing') throw notFound();
  if (from === to) throw refused('is the project that it is in');
  await requireProject(handler, to);
  if (source.situation === 'active' && !isFree(await peek(to))) throw hasAnother(deviceId);
  await execute(from, 0, { type: 'start-transfer', deviceId, to, transferId });
  const leaving = await peek(from);
  if (leaving.situation === 'missing') throw new Error(`the device ${deviceId} has gone`);
  if (leaving.situation === 'leaving') {
    const named = { deviceId, from, transferId: leaving.transferId };
    const refusal = await devices
      .receive(
        {
          ...named,
          links: leaving.links,
          createdAt: transfer.now.toISOString(),
          keys: validKeys(leaving.keys),
        },
        contextIn(to, 1),
      )
      .then(
        () => undefined,
        async (error: unknown) => {
          if (!(error instanceof LedgerError) || !isRefusal(error)) throw error;
          await refuse(execute, to, named);
          return error;
        },
      );
    // What that project has recorded decides: another run of the same transfer may have been first.
    if (isRefused(await peek(to), leaving.transferId, refusal)) {
      await execute(from, 2, { type: 'cancel-transfer', deviceId });
      throw refusal ?? hasAnother(deviceId);
    }
  }
  const finished = await execute(from, 2, { type: 'finish-transfer', deviceId });
  const [left, arrived] = [await peek(from), await peek(to)];
  await revokeThere({ handler, left, arrived }, deviceId, contextIn(to, 0));
  return finished;
}

async function refuse(
  execute: Execute,
  to: string,
  named: {
    readonly deviceId: string;
    readonly from: string;
    readonly transferId: string | undefined;
  },
): Promise<void> {
  const { transferId } = named;
  if (transferId === undefined) return;
  await execute(to, 3, { type: 'refuse-transfer', ...named, transferId });
}

function isRefused(
  { transfers }: DeviceState,
  transferId: string | undefined,
  refusal: LedgerError | undefined,
): boolean {
  if (transferId === undefined) return refusal !== undefined;
  return own(transfers, transferId) !== 'received';
}

/** A key that was revoked here after the others had gone is refused everywhere; there it shows as revoked, too. */
async function revokeThere(
  {
    handler,
    left,
    arrived,
  }: {
    readonly handler: CommandHandler;
    readonly left: DeviceState;
    readonly arrived: DeviceState;
  },
  deviceId: string,
  { projectId, actor, correlationId }: CommandContext,
): Promise<void> {
  if (left.situation === 'missing' || arrived.situation !== 'active') return;
  for (const [keyId, { isRevoked }] of Object.entries(left.keys)) {
    if (!isRevoked || own(arrived.keys, keyId)?.isRevoked !== false) continue;
    await handler.execute(
      deviceDecider,
      deviceStream(projectId, deviceId),
      { type: 'revoke-key', deviceId, keyId },
      { projectId, actor, correlationId },
    );
  }
}

function validKeys(keys: KeySet): { keyId: string; secretHash: string; issuedAt: string }[] {
  return Object.entries(keys).flatMap(([keyId, { secretHash, issuedAt, isRevoked }]) =>
    isRevoked ? [] : [{ keyId, secretHash, issuedAt }],
  );
}

async function requireProject(handler: CommandHandler, projectId: string): Promise<void> {
  const { state } = await handler.peek(projectDecider, projectStream(projectId), 0);
  if (state.situation === 'missing') throw refused('must be a project that is there');
}

function isFree({ situation }: DeviceState): boolean {
  return situation === 'missing' || situation === 'transferred';
}

function isRefusal({ code }: LedgerError): boolean {
  return code === 'device-exists' || code === 'link-taken';
}

function refused(message: string): LedgerError {
  return new LedgerError('validation-failed', `Mend body.to: it ${message}.`, {
    fields: [{ path: 'body.to', message }],
  });
}
