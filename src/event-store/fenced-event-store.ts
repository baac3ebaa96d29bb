import type { OpenEventStore } from './port.ts';

/** Whether this process may append now. */
export interface Fence {
  /** @throws LedgerError `store-unavailable` */
  confirm(): Promise<void>;
}

/**
 * The log, behind a fence: nothing is appended unless the fence stands, and nothing is acknowledged unless it
 * still stands afterwards. What is stored behind a fence that fell meanwhile may be missing in a copy of the
 * log, so its outcome is unknown to the caller, as after any connection that broke.
 */
export function fenced(log: OpenEventStore, fence: Fence): OpenEventStore {
  return {
    logId: log.logId,
    copyTarget: log.copyTarget,
    get resumedSubscriptions() {
      return log.resumedSubscriptions;
    },
    async append(writes) {
      await fence.confirm();
      const answers = await log.append(writes);
      await fence.confirm();
      return answers;
    },
    readStream: (stream, options) => log.readStream(stream, options),
    readAll: (options) => log.readAll(options),
    subscribe: (options) => log.subscribe(options),
    head: () => log.head(),
    end: () => log.end(),
    positionAt: (time) => log.positionAt(time),
    close: () => log.close(),
  };
}
