import type { DeviceEvent } from '../events/tenancy.ts';
import { domainEvent } from '../events/registry.ts';
import type { EventStore, Position } from '../event-store/port.ts';
import { LedgerError } from '../shared/errors.ts';
import type { CommandContext, CommandHandler } from './handler.ts';
import {
  deviceDecider,
  deviceStream,
  projectDecider,
  projectStream,
  type DeviceState,
  type NewKey,
} from './tenancy.ts';

export interface DeviceTransfer {
  readonly deviceId: string;
  readonly from: string;
  readonly to: string;
  readonly now: Date;
}

/** Something was done to the device between reading and transferring it. */
class MovedOn extends Error {
  override readonly name = 'MovedOn';
}

/**
 * A device goes to another project, with its links and the keys that it has: nobody can go and change them in
 * the field. What it reported stays where that was reported.
 *
 * Two streams, hence two appends: it is received in the one project before it leaves the other. Whatever comes
 * between them, the same again finishes it, as each of them knows what it has done.
 *
 * @throws LedgerError `not-found`, `device-retired`, `device-exists`, `validation-failed`
 */
export class DeviceTransfers {
  readonly #handler: CommandHandler;
  readonly #store: EventStore;

  constructor(handler: CommandHandler, store: EventStore) {
    this.#handler = handler;
    this.#store = store;
  }

  async transfer(
    { deviceId, from, to, now }: DeviceTransfer,
    command: (ordinal: number) => CommandContext,
  ): Promise<Position> {
    await this.#requireProject(to);
    if (from === to) throw refused('is the project that it is in');
    for (;;) {
      const { state, revision, position, keys } = await this.#read(from, deviceId);
      if (state.situation === 'missing') throw notFound();
      if (state.situation === 'transferred') return position;
      // Refused before anything is done.
      deviceDecider.decide(state, { type: 'transfer', deviceId, to });
      const createdAt = now.toISOString();
      await this.#handler.execute(
        deviceDecider,
        deviceStream(to, deviceId),
        { type: 'receive', deviceId, links: state.links, createdAt, from, keys },
        { ...command(0), projectId: to },
      );
      try {
        const left = await this.#handler.execute(
          deviceDecider,
          deviceStream(from, deviceId),
          { type: 'transfer', deviceId, to },
          {
            ...command(1),
            projectId: from,
            // A key that was issued since it was read would stay behind.
            precondition: (newest) => {
              if (newest !== revision) throw new MovedOn();
            },
          },
        );
        return left.position;
      } catch (error) {
        if (!(error instanceof MovedOn)) throw error;
      }
    }
  }

  async #requireProject(projectId: string): Promise<void> {
    const stream = projectStream(projectId);
    const { state } = await this.#handler.peek(projectDecider, stream, 0);
    if (state.situation === 'missing') throw refused('must be a project that is there');
  }

  /** With the hashes of its keys, which the folded state leaves out. */
  async #read(
    projectId: string,
    deviceId: string,
  ): Promise<{ state: DeviceState; revision: bigint; position: Position; keys: NewKey[] }> {
    let state = deviceDecider.initialState;
    let revision = -1n;
    let position = 0n as Position;
    const keys = new Map<string, NewKey>();
    for await (const recorded of this.#store.readStream(deviceStream(projectId, deviceId))) {
      const event = domainEvent(recorded) as DeviceEvent;
      state = deviceDecider.evolve(state, event);
      ({ revision, position } = recorded);
      if (event.type === 'DeviceRegistered') keys.clear();
      if (event.type === 'KeyRevoked') keys.delete(event.data.keyId);
      if (event.type === 'KeyIssued') {
        const { keyId, secretHash, issuedAt } = event.data;
        keys.set(keyId, { keyId, secretHash, issuedAt });
      }
    }
    return { state, revision, position, keys: [...keys.values()] };
  }
}

function refused(message: string): LedgerError {
  return new LedgerError('validation-failed', `Mend body.to: it ${message}.`, {
    fields: [{ path: 'body.to', message }],
  });
}

function notFound(): LedgerError {
  return new LedgerError('not-found', 'There is nothing here: check the id.');
}
