import { randomUUID } from 'node:crypto';
import type { KeyKind, Role } from '../../events/tenancy.ts';
import type { Position } from '../../event-store/port.ts';
import type { Clock } from '../../shared/clock.ts';
import { LedgerError } from '../../shared/errors.ts';
import { randomEntropy } from '../../shared/ids.ts';
import type { CommandParts } from '../core/command-parts.ts';
import type { CommandContext } from '../core/context.ts';
import type { CommandHandler, Handled } from '../core/handler.ts';
import { mintKey } from './api-keys.ts';
import { DeviceCommands } from './device-commands.ts';
import { deviceDecider, deviceStream, type DeviceState } from './device-decider.ts';
import { transferDevice, type DeviceTransfer } from './device-transfer.ts';
import { installationDecider, installationStream } from './installation-decider.ts';
import type { NewKey } from './key-set.ts';
import {
  projectDecider,
  projectStream,
  type ProjectCommand,
  type ProjectState,
} from './project-decider.ts';
import { assignmentAt, presentOf, simDecider, simStream, type AssignSim } from './sim-decider.ts';

/** Whose key it is. The holder of an admin key is the installation. */
export interface KeyHolder {
  readonly kind: KeyKind;
  readonly id: string;
}

/**
 * What may be asked of projects, members, keys, devices and SIM cards, in the project of the
 * context.
 */
export class TenancyCommands {
  readonly devices: DeviceCommands;
  readonly #handler: CommandHandler;

  constructor(parts: Pick<CommandParts, 'store' | 'handler' | 'linkedDevices'>) {
    this.devices = new DeviceCommands(parts);
    this.#handler = parts.handler;
  }

  /** @throws LedgerError `project-exists` */
  createProject(
    project: Omit<Extract<ProjectCommand, { type: 'create' }>, 'type'>,
    context: CommandContext,
  ): Promise<Handled<ProjectState>> {
    const { projectId } = project;
    return this.#project({ type: 'create', ...project }, { ...context, projectId });
  }

  /**
   * Makes a project that a setting or an option names, when it is missing. Its owner is called
   * `owner`; no one sees that one's first key: `keys issue --project <id> --member owner` gives
   * another.
   */
  async ensureProject(projectId: string, actor: string, clock: Clock): Promise<void> {
    const { state } = await this.#handler.peek(projectDecider, projectStream(projectId), 0);
    if (state.status === 'created') return;
    const now = clock();
    const { newKey: key } = mintKey('mem', randomEntropy(), now);
    const owner = { memberId: 'owner', name: 'Owner', key };
    const project = { projectId, name: projectId, createdAt: now.toISOString(), owner };
    const context = { projectId, actor, correlationId: randomUUID() };
    await this.createProject(project, context).catch((error: unknown) => {
      // Another process was faster.
      if (!(error instanceof LedgerError) || error.code !== 'project-exists') throw error;
    });
  }

  addMember(
    member: {
      readonly memberId: string;
      readonly name: string;
      readonly role: Role;
      readonly key: NewKey;
    },
    context: CommandContext,
  ): Promise<Handled<ProjectState>> {
    return this.#project({ type: 'add-member', ...member }, context);
  }

  /** @throws LedgerError `not-found`, `last-owner` */
  removeMember(memberId: string, context: CommandContext): Promise<Handled<ProjectState>> {
    return this.#project({ type: 'remove-member', memberId }, context);
  }

  /** @throws LedgerError `not-found`, `device-retired`, `device-transferred` */
  issueKey(
    { kind, id }: KeyHolder,
    key: NewKey,
    context: CommandContext,
  ): Promise<Handled<unknown>> {
    switch (kind) {
      case 'adm': {
        const command = { type: 'issue-key', key } as const;
        return this.#handler.execute(installationDecider, installationStream(), command, context);
      }
      case 'mem':
        return this.#project({ type: 'issue-key', memberId: id, key }, context);
      case 'dev': {
        const command = { type: 'issue-key', deviceId: id, key } as const;
        const stream = deviceStream(context.projectId, id);
        return this.#handler.execute(deviceDecider, stream, command, context);
      }
    }
  }

  /** The first admin key of the installation: nothing when there has ever been one. */
  issueFirstAdminKey(key: NewKey, context: CommandContext): Promise<Handled<unknown>> {
    const command = { type: 'issue-first-key', key } as const;
    return this.#handler.execute(installationDecider, installationStream(), command, context);
  }

  /** @throws LedgerError `not-found`, `device-transferred`, `last-owner` */
  revokeKey(
    { kind, id }: KeyHolder,
    keyId: string,
    context: CommandContext,
  ): Promise<Handled<unknown>> {
    switch (kind) {
      case 'adm': {
        const command = { type: 'revoke-key', keyId } as const;
        return this.#handler.execute(installationDecider, installationStream(), command, context);
      }
      case 'mem':
        return this.#project({ type: 'revoke-key', keyId }, context);
      case 'dev': {
        const command = { type: 'revoke-key', deviceId: id, keyId } as const;
        const stream = deviceStream(context.projectId, id);
        return this.#handler.execute(deviceDecider, stream, command, context);
      }
    }
  }

  /** The device in the project that it is transferred to is another one, of the same id. */
  transferDevice(
    transfer: DeviceTransfer,
    contextOf: (ordinal: number) => CommandContext,
  ): Promise<Handled<DeviceState>> {
    return transferDevice({ handler: this.#handler, devices: this.devices }, transfer, contextOf);
  }

  /** Assigns a SIM card, and says from when on it is so: null is from the beginning. */
  async assignSim(
    assignment: Omit<AssignSim, 'type'>,
    context: CommandContext,
  ): Promise<{ readonly from: string | null; readonly position: Position }> {
    const { simCardId, from, now } = assignment;
    const stream = simStream(context.projectId, simCardId);
    const command = { type: 'assign', ...assignment } as const;
    const { state, position } = await this.#handler.execute(simDecider, stream, command, context);
    if (from !== undefined) return { from: from.toISOString(), position };
    return { from: assignmentAt(state, presentOf(state, now))?.from ?? null, position };
  }

  #project(command: ProjectCommand, context: CommandContext): Promise<Handled<ProjectState>> {
    const stream = projectStream(context.projectId);
    return this.#handler.execute(projectDecider, stream, command, context);
  }
}
