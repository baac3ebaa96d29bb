import type { EventStore, Position } from '../../event-store/port.ts';
import type { StreamName } from '../../event-store/stream-name.ts';
import type { CommandParts } from '../core/command-parts.ts';
import type { CommandContext } from '../core/context.ts';
import type { CommandHandler } from '../core/handler.ts';
import { BatchTracker, type HandledBatch } from './batch-tracker.ts';
import {
  batchDecider,
  batchStream,
  isDone,
  type BatchCommand,
  type BatchState,
} from './decider.ts';

type Named<Type extends BatchCommand['type']> = Omit<Extract<BatchCommand, { type: Type }>, 'type'>;

/** What may be asked of batches of DevEUIs; those of the project in the context. */
export class DevEuiCommands {
  readonly #handler: CommandHandler;
  readonly #store: EventStore;

  constructor({ handler, store }: Pick<CommandParts, 'handler' | 'store'>) {
    this.#handler = handler;
    this.#store = store;
  }

  request(batch: Named<'request'>, context: CommandContext): Promise<HandledBatch> {
    return this.#execute(batch.batchId, { type: 'request', ...batch }, context);
  }

  /** No new requests; those in flight finish. @throws LedgerError `not-found` */
  stop(batchId: string, context: CommandContext): Promise<HandledBatch> {
    return this.#execute(batchId, { type: 'stop' }, context);
  }

  /**
   * Stops a batch that is running, and gives it as it is then; hides one that is done.
   * @throws LedgerError `not-found`
   */
  async stopOrHide(
    batchId: string,
    endedAt: string,
    context: CommandContext,
  ): Promise<
    | { readonly outcome: 'stopped'; readonly batch: BatchTracker }
    | { readonly outcome: 'hidden'; readonly position: Position }
  > {
    const batch = await this.#read(batchId, context);
    for (;;) {
      const stopped = await this.stop(batchId, context);
      if (stopped.outcome !== 'nothing' || !isDone(stopped.state)) {
        await batch.catchUpWith(stopped);
        return { outcome: 'stopped', batch };
      }
      const hidden = await this.#execute(batchId, { type: 'hide', endedAt }, context);
      // Otherwise it was resumed in between, and is to be stopped.
      if (hidden.outcome !== 'nothing') return { outcome: 'hidden', position: hidden.position };
    }
  }

  /** Gives the batch as it is once it is resumed. @throws LedgerError `not-found` */
  async resume(
    batchId: string,
    resume: Named<'resume'>,
    context: CommandContext,
  ): Promise<BatchTracker> {
    const batch = await this.#read(batchId, context);
    await batch.catchUpWith(await this.#execute(batchId, { type: 'resume', ...resume }, context));
    return batch;
  }

  /** A batch as its own events tell it: an answer to a command waits for no read model. */
  track(projectId: string, batchId: string): BatchTracker {
    return new BatchTracker(this.#store, batchStream(projectId, batchId));
  }

  /** The commands of a process that works on the batch of a stream. */
  work(stream: StreamName, context: CommandContext): BatchWork {
    return new BatchWork(this.#handler, stream, context);
  }

  async state(stream: StreamName): Promise<BatchState> {
    return (await this.#handler.peek(batchDecider, stream, 0)).state;
  }

  async #read(batchId: string, { projectId }: CommandContext): Promise<BatchTracker> {
    const batch = this.track(projectId, batchId);
    await batch.catchUp();
    return batch;
  }

  #execute(batchId: string, command: BatchCommand, context: CommandContext): Promise<HandledBatch> {
    const stream = batchStream(context.projectId, batchId);
    return this.#handler.execute(batchDecider, stream, command, context);
  }
}

/** The commands of whoever asks the provider for the DevEUIs of one batch. */
export class BatchWork {
  readonly #handler: CommandHandler;
  readonly #stream: StreamName;
  readonly #context: CommandContext;

  constructor(handler: CommandHandler, stream: StreamName, context: CommandContext) {
    this.#handler = handler;
    this.#stream = stream;
    this.#context = context;
  }

  /** Draws the next DevEUI, if one more is wanted. */
  begin(sentAt: string): Promise<HandledBatch> {
    return this.#execute({ type: 'begin', sentAt });
  }

  retry(devEui: string, sentAt: string): Promise<HandledBatch> {
    return this.#execute({ type: 'retry', devEui, sentAt });
  }

  settle(settlement: Named<'settle'>): Promise<HandledBatch> {
    return this.#execute({ type: 'settle', ...settlement });
  }

  /** What is in flight according to the log was sent by a process that no longer works on it. */
  interrupt(endedAt: string): Promise<HandledBatch> {
    return this.#execute({ type: 'interrupt', endedAt });
  }

  #execute(command: BatchCommand): Promise<HandledBatch> {
    return this.#handler.execute(batchDecider, this.#stream, command, this.#context);
  }
}
