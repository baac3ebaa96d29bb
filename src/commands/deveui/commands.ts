import type { EventStore } from '../../event-store/port.ts';
import type { CommandParts } from '../core/command-parts.ts';
import type { CommandHandler } from '../core/handler.ts';
import { BatchTracker } from './batch-tracker.ts';
import { batchStream } from './decider.ts';

export class DevEuiCommands {
  readonly handler: CommandHandler;
  readonly #store: EventStore;

  constructor({ handler, store }: Pick<CommandParts, 'handler' | 'store'>) {
    this.handler = handler;
    this.#store = store;
  }

  /** A batch as its own events tell it: an answer to a command waits for no read model. */
  track(projectId: string, batchId: string): BatchTracker {
    return new BatchTracker(this.#store, batchStream(projectId, batchId));
  }
}
