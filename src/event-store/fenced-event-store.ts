import type { OpenEventStore } from './port.ts';
import { withAppend } from './with-append.ts';

/** Whether this process may append now. */
export interface Fence {
  /** @throws LedgerError `store-unavailable` */
  confirm(): Promise<void>;
}

/**
 * The log behind a fence: nothing is appended unless the fence stands, and nothing is acknowledged
 * unless it still stands afterwards. What is stored behind a fence that fell in between may be
 * missing in a copy of the log, so its outcome is unknown to the caller, as after a lost
 * connection.
 */
export function fenced(log: OpenEventStore, fence: Fence): OpenEventStore {
  return withAppend(log, async (writes) => {
    await fence.confirm();
    const answers = await log.append(writes);
    await fence.confirm();
    return answers;
  });
}
