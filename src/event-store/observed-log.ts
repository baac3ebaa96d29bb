import type { OpenEventStore, Position, Write } from './port.ts';
import { withAppend } from './with-append.ts';

/** @param position of the last event of the write */
export type AppendListener = (write: Write, position: Position) => void;

/** A log that tells listeners in this process what this process appends. */
export interface ObservedLog extends OpenEventStore {
  /**
   * Calls the listener for each write that this process appends, also for one that was stored by an
   * earlier append of the same ids, before the append is answered: what a caller does after its
   * append sees what the listener did.
   */
  onAppended(listener: AppendListener): void;
}

export function observed(log: OpenEventStore): ObservedLog {
  const listeners: AppendListener[] = [];
  const observedLog = withAppend(log, async (writes) => {
    const answers = await log.append(writes);
    for (const [index, write] of writes.entries()) {
      const answer = answers[index];
      if (answer?.outcome !== 'appended') continue;
      for (const listener of listeners) listener(write, answer.position);
    }
    return answers;
  });
  return Object.assign(observedLog, {
    onAppended(listener: AppendListener) {
      listeners.push(listener);
    },
  });
}
