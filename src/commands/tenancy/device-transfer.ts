import { LedgerError } from '../../shared/errors.ts';
import {
  deviceDecider,
  deviceStream,
  hasAnother,
  type DeviceCommand,
  type DeviceState,
} from './device-decider.ts';
import type { DeviceCommands } from './device-commands.ts';
import type { CommandContext } from '../core/context.ts';
import type { CommandHandler, Handled } from '../core/handler.ts';
import { notFound, own, type KeySet } from './key-set.ts';
import { projectDecider, projectStream } from './project-decider.ts';

export interface DeviceTransfer {
  readonly deviceId: string;
  readonly from: string;
  readonly to: string;
  /** The name of a new transfer; one that was begun before keeps its own. */
  readonly transferId: string;
  readonly now: Date;
}

/**
 * The numbers of the commands of one transfer (`CommandIdentity`). Each has its own, so that a
 * repeated request cannot take the end of a refused transfer for the end of a finished one.
 */
const ORDINALS = { start: 0, receive: 1, finish: 2, refuse: 3, cancel: 4 } as const;

/** The transfer as a command for one of the two projects; `ordinal` as of `CommandIdentity`. */
type Execute = (
  project: string,
  ordinal: number,
  command: DeviceCommand,
) => Promise<Handled<DeviceState>>;

/**
 * A device goes to another project, with its links and the keys that it has: nobody can go and
 * change them in the field. What it reported stays where that was reported.
 *
 * Two streams, hence several appends (decision 17): the intent, which names the transfer; what
 * became of that transfer there, received or refused; then its leaving here, or the end of the
 * intent. Whatever comes between them, also in the other project, the same request again finishes
 * it.
 *
 * @throws LedgerError `not-found`, `device-retired`, `device-transferred` (to another project than
 * that),
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
  if (source.status === 'missing') throw notFound();
  if (from === to) throw refused('is the project that it is in');
  await requireProject(handler, to);
  if (source.status === 'active' && !isFree(await peek(to))) throw hasAnother(deviceId);
  const start = { type: 'start-transfer', deviceId, to, transferId } as const;
  const started = await execute(from, ORDINALS.start, start);
  const name = started.outcome === 'nothing' ? nameOf(started.state) : transferId;
  const leaving = await peek(from);
  const isUndecided = name === undefined || own((await peek(to)).transfers, name) === undefined;
  let refusal: LedgerError | undefined;
  if (leaving.status === 'leaving' && leaving.transferId === name && isUndecided) {
    const named = { deviceId, from, transferId: name };
    const createdAt = transfer.now.toISOString();
    const keys = validKeys(leaving.keys);
    refusal = await devices
      .receive({ ...named, links: leaving.links, createdAt, keys }, contextIn(to, ORDINALS.receive))
      .then(
        () => undefined,
        async (error: unknown) => {
          if (!(error instanceof LedgerError) || !isRefusal(error)) throw error;
          await refuse(execute, to, named);
          return error;
        },
      );
  }
  // The other project has recorded what became of this transfer. The device's place in the first
  // project does not show it: another run may have ended the transfer there already.
  const there = await peek(to);
  const ended = { deviceId, transferId: name };
  if (isRefused(there, name, refusal)) {
    await execute(from, ORDINALS.cancel, { type: 'cancel-transfer', ...ended });
    throw refusal ?? refusedBefore(deviceId, there);
  }
  const finished = await execute(from, ORDINALS.finish, { type: 'finish-transfer', ...ended });
  const [left, arrived] = [await peek(from), await peek(to)];
  await revokeThere({ handler, left, arrived }, deviceId, contextIn(to, ORDINALS.start));
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
  await execute(to, ORDINALS.refuse, { type: 'refuse-transfer', ...named, transferId });
}

function isRefused(
  { transfers }: DeviceState,
  transferId: string | undefined,
  refusal: LedgerError | undefined,
): boolean {
  if (transferId === undefined) return refusal !== undefined;
  return own(transfers, transferId) !== 'received';
}

/** The name of the transfer that a device is on; one of an earlier release has none. */
function nameOf(device: DeviceState): string | undefined {
  return device.status === 'leaving' ? device.transferId : undefined;
}

/** The refusal of a transfer that another run of it has ended; the log does not keep the link. */
function refusedBefore(deviceId: string, there: DeviceState): LedgerError {
  if (!isFree(there)) return hasAnother(deviceId);
  return new LedgerError(
    'link-taken',
    `The receiving project refused the device '${deviceId}', because another device had one ` +
      'of its links: transfer it again.',
  );
}

/**
 * A key that was revoked here after the others had gone is refused everywhere; there it shows as
 * revoked, too.
 */
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
  if (left.status === 'missing' || arrived.status !== 'active') return;
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
  if (state.status === 'missing') throw refused('must be a project that is there');
}

function isFree({ status }: DeviceState): boolean {
  return status === 'missing' || status === 'transferred';
}

function isRefusal({ code }: LedgerError): boolean {
  return code === 'device-exists' || code === 'link-taken';
}

function refused(message: string): LedgerError {
  return new LedgerError('validation-failed', `Fix body.to: it ${message}.`, {
    fields: [{ path: 'body.to', message }],
  });
}
