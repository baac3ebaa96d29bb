import type { StreamName } from '../../event-store/stream-name.ts';
import { isTransient } from '../../shared/errors.ts';

/** Why commands of a group may not begin. In an object, since anything may be thrown. */
export interface GroupFailure {
  readonly error: unknown;
}

/**
 * The commands of one request that has many. They begin in their order on each stream, and a
 * repetition of the request relies on it: an event of a later command shows that an earlier one on
 * that stream was decided. So once a command fails without having been decided, no later one on its
 * stream begins; and when the store is unavailable, none of the group begins any more.
 */
export class CommandGroup {
  #failure: GroupFailure | undefined;
  readonly #failedStreams = new Map<StreamName, GroupFailure>();

  /** Why no command begins any more, on whatever stream. */
  get failure(): GroupFailure | undefined {
    return this.#failure;
  }

  failureOn(stream: StreamName): GroupFailure | undefined {
    return this.#failure ?? this.#failedStreams.get(stream);
  }

  /**
   * A command on the stream failed, and was not decided. Without a stream: the request's results
   * cannot be kept.
   */
  fail(error: unknown, stream?: StreamName): void {
    if (stream === undefined || isTransient(error)) this.#failure ??= { error };
    else if (!this.#failedStreams.has(stream)) this.#failedStreams.set(stream, { error });
  }
}
