import type { EventStore } from '../../event-store/port.ts';
import type { LinkKind } from '../../events/tenancy.ts';
import type { CommandHandler } from './handler.ts';

/**
 * Devices that may have a link: found without the log, hence only where to look. It finds those
 * that were linked before there were claims.
 */
export type LinkedDevices = (
  projectId: string,
  kind: LinkKind,
  value: string,
) => Promise<readonly string[]>;

/** What the commands of each domain are made of. */
export interface CommandParts {
  readonly store: EventStore;
  readonly handler: CommandHandler;
  readonly linkedDevices: LinkedDevices;
  /** Derives secrets that the log must not hold, the same in every process. */
  readonly installationSecret: Buffer;
}
