import type { DeviceLinks, LinkClaims as Claims, LinkKind } from '../../events/tenancy.ts';
import { revisionBeyond } from '../../event-store/log-went-back.ts';
import type { EventStore, NewEvent } from '../../event-store/port.ts';
import { streamName, type StreamName } from '../../event-store/stream-name.ts';
import { LedgerError } from '../../shared/errors.ts';
import { appendOne } from '../core/append.ts';
import {
  ClaimLostError,
  deviceDecider,
  deviceStream,
  isLinked,
  isSettled,
  LINK_KINDS,
  linkTaken,
  type DeviceState,
} from './device-decider.ts';
import type { CommandParts, LinkedDevices } from '../core/command-parts.ts';
import { envelope, type CommandContext } from '../core/context.ts';
import type { CommandHandler } from '../core/handler.ts';
import { sleep } from '../../shared/sleep.ts';

/** So often, and so long in all, a claim of another device that is not used yet is waited for. */
const PENDING_POLL_MS = 25;
const PENDING_POLLS = 10;
const MAX_ATTEMPTS = 20;

interface Claim {
  readonly revision: bigint;
  readonly deviceId: string;
}

interface Wanted {
  readonly kind: LinkKind;
  readonly value: string;
  readonly deviceId: string;
  readonly context: CommandContext;
}

/**
 * Sees to it that no two devices of a project have one DevEUI, SIM card or sensor (decision 24).
 * Each of these has a stream, whose last claim names the device that may be linked to it. A claim
 * counts while its device is linked, so nothing has to be released. One that was not used is taken
 * over by whoever comes next, after it was voided in the stream of its device: a slow request, or
 * one that is repeated after a crash, can then link by it no more.
 */
export class LinkClaims {
  readonly #store: EventStore;
  readonly #handler: CommandHandler;
  readonly #linkedDevices: LinkedDevices;

  constructor({
    store,
    handler,
    linkedDevices,
  }: Pick<CommandParts, 'store' | 'handler' | 'linkedDevices'>) {
    this.#store = store;
    this.#handler = handler;
    this.#linkedDevices = linkedDevices;
  }

  /**
   * Claims for a device those links that it does not have yet.
   * @throws LedgerError `link-taken`
   */
  async claim(
    device: DeviceState,
    deviceId: string,
    links: Partial<DeviceLinks>,
    context: CommandContext,
  ): Promise<Claims> {
    const claims: { -readonly [Kind in LinkKind]?: number } = {};
    await Promise.all(
      LINK_KINDS.map(async (kind) => {
        const value = links[kind] ?? null;
        if (value === null || isLinked(device, kind, value)) return;
        claims[kind] = await this.#claimOne({ kind, value, deviceId, context });
      }),
    );
    return claims;
  }

  async #claimOne(wanted: Wanted): Promise<number> {
    const { kind, value, deviceId, context } = wanted;
    for (const other of await this.#devicesWith(context.projectId, kind, value)) {
      if (other === deviceId) continue;
      if (isLinked(await this.#device(context.projectId, other), kind, value))
        throw linkTaken(kind, value, other);
    }
    const stream = linkStream(context.projectId, kind, value);
    let last: Claim | undefined;
    let end: bigint | 'no-stream' = 'no-stream';
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      if (last !== undefined && (await this.#isOurs(wanted, last))) return Number(last.revision);
      const appended = await appendOne(this.#store, {
        stream,
        events: [claimEvent(wanted)],
        expectedRevision: end,
      });
      if (appended.outcome === 'appended') return Number(appended.revision);
      // The stream may end with events of another application, which are no claims.
      end = revisionBeyond(stream, end, appended.actualRevision);
      last = await this.#lastClaim(stream);
    }
    throw new ClaimLostError();
  }

  /** Nobody while the tables of a moved log are being built: devices need not wait for these. */
  #devicesWith(projectId: string, kind: LinkKind, value: string): Promise<readonly string[]> {
    return this.#linkedDevices(projectId, kind, value).catch((error: unknown) => {
      if (error instanceof LedgerError && error.code === 'read-model-behind') return [];
      throw error;
    });
  }

  /**
   * Whether the last claim is ours, and not used yet. Otherwise it is free to be followed by ours.
   */
  async #isOurs({ kind, value, deviceId, context }: Wanted, last: Claim): Promise<boolean> {
    const { projectId } = context;
    const claim = Number(last.revision);
    for (let poll = 0; ; poll += 1) {
      const holder = await this.#device(projectId, last.deviceId);
      const isFree = isSettled(holder, kind, value, claim);
      if (last.deviceId === deviceId) return !isFree;
      if (isLinked(holder, kind, value)) throw linkTaken(kind, value, last.deviceId);
      if (isFree) return false;
      if (poll === PENDING_POLLS) break;
      // Whoever claimed it is about to link it, or died.
      await sleep(PENDING_POLL_MS);
    }
    const { actor, correlationId } = context;
    const command = { type: 'void-claim', deviceId: last.deviceId, kind, value, claim } as const;
    const stream = deviceStream(projectId, last.deviceId);
    await this.#handler.execute(deviceDecider, stream, command, {
      projectId,
      actor,
      correlationId,
    });
    return false;
  }

  async #lastClaim(stream: StreamName): Promise<Claim | undefined> {
    const backwards = { direction: 'backwards', limit: 1 } as const;
    for await (const { revision, data } of this.#store.readStream(stream, backwards)) {
      return { revision, deviceId: data['deviceId'] as string };
    }
    return undefined;
  }

  async #device(projectId: string, deviceId: string): Promise<DeviceState> {
    const stream = deviceStream(projectId, deviceId);
    return (await this.#handler.peek(deviceDecider, stream, 0)).state;
  }
}

function claimEvent({ kind, value, deviceId, context }: Wanted): NewEvent {
  const { projectId, actor, correlationId } = context;
  const data = { kind, value, deviceId };
  return envelope({ type: 'LinkClaimed', data }, { projectId, actor, correlationId });
}

const KIND_IN_NAME = { devEui: 'deveui', simCardId: 'sim', sensorId: 'sensor' } as const;

export function linkStream(projectId: string, kind: LinkKind, value: string): StreamName {
  return streamName('link', projectId, KIND_IN_NAME[kind], value);
}
