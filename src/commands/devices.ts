import type { DeviceLinks } from '../events/tenancy.ts';
import type { EventStore } from '../event-store/port.ts';
import {
  ClaimLostError,
  deviceDecider,
  LINK_KINDS,
  type DeviceCommand,
  type DeviceState,
} from './device-decider.ts';
import type { CommandContext, CommandHandler, Handled } from './handler.ts';
import type { NewKey } from './key-set.ts';
import { LinkClaims, linkStream, type LinkedDevices } from './link-claims.ts';
import { deviceStream } from './tenancy.ts';
import { Turns } from './turns.ts';

const MAX_ATTEMPTS = 5;

type Linking = Extract<DeviceCommand, { type: 'register' | 'change' | 'receive' }>;

/** Commands on devices that may link them: what a device is linked to is claimed for it first. */
export class DeviceCommands {
  readonly #handler: CommandHandler;
  readonly #claims: LinkClaims;
  /** Rows of one table, and requests at once, that want the same device or link. */
  readonly #turns = new Turns();

  constructor(store: EventStore, handler: CommandHandler, linkedDevices: LinkedDevices) {
    this.#handler = handler;
    this.#claims = new LinkClaims(store, handler, linkedDevices);
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

  /** @throws LedgerError `not-found`, `device-retired`, `device-transferred`, `link-taken` */
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

  #link(command: Linking, context: CommandContext): Promise<Handled<DeviceState>> {
    const { deviceId, links } = command;
    const { projectId } = context;
    const stream = deviceStream(projectId, deviceId);
    const execute = (claimed: Linking): Promise<Handled<DeviceState>> =>
      this.#handler.execute(deviceDecider, stream, claimed, context);
    const names = LINK_KINDS.flatMap((kind) => {
      const value = links[kind] ?? null;
      return value === null ? [] : [linkStream(projectId, kind, value)];
    });
    return this.#turns.take([stream, ...names], async () => {
      for (let attempt = 1; ; attempt += 1) {
        const { state } = await this.#handler.peek(deviceDecider, stream, 0);
        if (!mayLink(command, state)) return execute({ ...command, claims: {} });
        const claims = await this.#claims.claim(state, deviceId, links, context);
        try {
          return await execute({ ...command, claims });
        } catch (error) {
          if (!(error instanceof ClaimLostError) || attempt === MAX_ATTEMPTS) throw error;
        }
      }
    });
  }
}

/** Otherwise the decision is a refusal, or nothing; or a repetition that has linked before. */
function mayLink({ type }: Linking, { situation }: DeviceState): boolean {
  switch (type) {
    case 'register':
      return situation === 'missing';
    case 'change':
      return situation === 'active';
    case 'receive':
      return situation === 'missing' || situation === 'transferred';
  }
}
