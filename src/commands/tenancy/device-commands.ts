import type { DeviceLinks, LinkClaims as LinkClaimsOfDevice } from '../../events/tenancy.ts';
import type { StreamName } from '../../event-store/stream-name.ts';
import { LedgerError, type ErrorCode } from '../../shared/errors.ts';
import { KeyedQueue } from '../../shared/keyed-queue.ts';
import {
  ClaimLostError,
  deviceDecider,
  deviceStream,
  LINK_KINDS,
  type DeviceCommand,
  type DeviceState,
} from './device-decider.ts';
import type { CommandParts } from '../core/command-parts.ts';
import type { CommandContext } from '../core/context.ts';
import type { CommandHandler, Handled } from '../core/handler.ts';
import type { NewKey } from './key-set.ts';
import { LinkClaims, linkStream } from './link-claims.ts';

const MAX_ATTEMPTS = 5;

type Linking = Extract<DeviceCommand, { type: 'register' | 'change' | 'receive' }>;

/** Commands on devices that may link them: what a device is linked to is claimed for it first. */
export class DeviceCommands {
  readonly #handler: CommandHandler;
  readonly #claims: LinkClaims;
  /** Rows of one table, and requests at once, that want the same device or link. */
  readonly #queue = new KeyedQueue();

  constructor(parts: Pick<CommandParts, 'store' | 'handler' | 'linkedDevices'>) {
    this.#handler = parts.handler;
    this.#claims = new LinkClaims(parts);
  }

  /** @throws LedgerError `device-exists`, `link-taken` */
  register(
    device: {
      readonly deviceId: string;
      readonly links: DeviceLinks;
      readonly createdAt: string;
      readonly key: NewKey;
    },
    context: CommandContext,
  ): Promise<Handled<DeviceState>> {
    return this.#link({ type: 'register', ...device }, context);
  }

  /**
   * Gives the device as the change left it, also when the change is repeated.
   * @throws LedgerError `not-found`, `device-retired`, `device-transferred`, `link-taken`
   */
  change(
    deviceId: string,
    links: Partial<DeviceLinks>,
    context: CommandContext,
  ): Promise<Handled<DeviceState>> {
    return this.#link({ type: 'change', deviceId, links }, context);
  }

  /** In the project of `context`. @throws LedgerError `link-taken` */
  receive(
    device: Omit<Extract<DeviceCommand, { type: 'receive' }>, 'type' | 'claims'>,
    context: CommandContext,
  ): Promise<Handled<DeviceState>> {
    return this.#link({ type: 'receive', ...device }, context);
  }

  /** @throws LedgerError `not-found`, `device-transferred`, and what the precondition throws */
  retire(deviceId: string, context: CommandContext): Promise<Handled<DeviceState>> {
    const stream = deviceStream(context.projectId, deviceId);
    return this.#handler.execute(deviceDecider, stream, { type: 'retire', deviceId }, context);
  }

  async state(projectId: string, deviceId: string): Promise<DeviceState> {
    return (await this.#handler.peek(deviceDecider, deviceStream(projectId, deviceId), 0)).state;
  }

  #link(command: Linking, context: CommandContext): Promise<Handled<DeviceState>> {
    const { deviceId, links } = command;
    const { projectId } = context;
    const stream = deviceStream(projectId, deviceId);
    const names = LINK_KINDS.flatMap((kind) => {
      const value = links[kind] ?? null;
      return value === null ? [] : [linkStream(projectId, kind, value)];
    });
    return this.#queue.run([stream, ...names], async () => {
      try {
        return await this.#claimAndLink(stream, command, context);
      } catch (error) {
        // Later commands of the request that are about this device may begin once this one was
        // decided.
        if (!isRefusal(error)) context.group?.fail(error, stream);
        throw error;
      }
    });
  }

  async #claimAndLink(
    stream: StreamName,
    command: Linking,
    context: CommandContext,
  ): Promise<Handled<DeviceState>> {
    const { identity, group, precondition } = context;
    const execute = (claims: LinkClaimsOfDevice): Promise<Handled<DeviceState>> =>
      this.#handler.execute(deviceDecider, stream, { ...command, claims }, context);
    for (let attempt = 1; ; attempt += 1) {
      const folded = await this.#handler.peek(deviceDecider, stream, 0);
      const { state, revision } = folded;
      // What has run is answered again: it claims nothing, whatever has happened since.
      const hasRun = await this.#handler.hasRun(stream, folded, identity);
      let claims: LinkClaimsOfDevice = {};
      if (!hasRun && mayLink(command, state) && group?.failureOn(stream) === undefined) {
        precondition?.(revision, state);
        claims = await this.#claims.claim(state, command.deviceId, command.links, context);
      }
      try {
        return await execute(claims);
      } catch (error) {
        if (!(error instanceof ClaimLostError)) throw error;
        if (hasRun) throw linkWasTaken();
        if (attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }
}

/** An answer to the command itself. The other errors leave open what it would be decided to. */
function isRefusal(error: unknown): boolean {
  return error instanceof LedgerError && REFUSALS.has(error.code);
}

const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'not-found',
  'device-exists',
  'device-retired',
  'device-transferred',
  'link-taken',
  'precondition-failed',
]);

/**
 * The refusal of a command that has run and recorded no event, although its links were free on the
 * device: another device had one of them. The log does not keep which.
 */
function linkWasTaken(): LedgerError {
  return new LedgerError(
    'link-taken',
    'A link of the device was linked to another device when the request was sent first: send ' +
      'it again as a new request.',
  );
}

/** Otherwise the decision is a refusal, or nothing; or a repetition that has linked before. */
function mayLink({ type }: Linking, { status }: DeviceState): boolean {
  switch (type) {
    case 'register':
      return status === 'missing';
    case 'change':
      return status === 'active';
    case 'receive':
      return status === 'missing' || status === 'transferred';
  }
}
