import { recordable } from '../../events/registry.ts';
import type { DomainEvent } from '../../events/event.ts';
import type { NewEvent, Position } from '../../event-store/port.ts';
import { newEventId } from '../../shared/ids.ts';
import type { CommandGroup } from './command-group.ts';

/** Who asks, and in what connection. */
export interface CommandContext {
  readonly projectId: string;
  readonly actor: string;
  readonly correlationId: string;
  /** The source's own time of what it reports. */
  readonly occurredAt?: Date;
  readonly identity?: CommandIdentity;
  /** The other commands of its request, which may not run when this one fails. */
  readonly group?: CommandGroup;
  /** Throws to refuse, given the revision and state that the command would be decided on. */
  readonly precondition?: (revision: bigint | 'no-stream', state: unknown) => void;
}

/**
 * A command that may arrive twice: its events carry `id` as their cause, and one of them after
 * `reservedAt` means that the command has run, in a process that died or in a concurrent duplicate.
 */
export interface CommandIdentity {
  /** A UUID that stands for the request or the message. */
  readonly id: string;
  /**
   * Which command of that cause it is. Those on one stream run in this order (their group sees to
   * it), so an event of a later one shows that an earlier one has run, also when it recorded
   * nothing. Default: 0.
   */
  readonly ordinal?: number;
  /** No event of this cause is at or before this position … */
  readonly reservedAt: Position;
  /** … nor, if given, at or before this revision: the search then starts there. */
  readonly reservedAtRevision?: bigint | 'no-stream';
}

/** What the metadata of an event is made of. */
export type EventContext = Pick<
  CommandContext,
  'projectId' | 'actor' | 'correlationId' | 'occurredAt' | 'identity'
>;

/** An event as the log takes it, with who asked for it and why. */
export function envelope(
  event: DomainEvent,
  { projectId, actor, correlationId, occurredAt, identity }: EventContext,
  id = newEventId(),
): NewEvent {
  return {
    id,
    ...recordable(event, {
      projectId,
      actor,
      correlationId,
      ...(identity && { causationId: identity.id }),
      ...(identity?.ordinal !== undefined && { causationOrdinal: identity.ordinal }),
      ...(occurredAt && { occurredAt: occurredAt.toISOString() }),
    }),
  };
}
