import type { EventStore } from '../../src/event-store/port.ts';

/** The log, with its subscriptions counted. */
export function countedSubscriptions(log: EventStore): {
  readonly store: EventStore;
  subscriptions(): number;
} {
  let subscriptions = 0;
  return {
    store: {
      logId: log.logId,
      append: (writes) => log.append(writes),
      readStream: (stream, options) => log.readStream(stream, options),
      readAll: (options) => log.readAll(options),
      subscribe(options) {
        subscriptions += 1;
        return log.subscribe(options);
      },
      head: () => log.head(),
      end: () => log.end(),
      positionAt: (time) => log.positionAt(time),
    },
    subscriptions: () => subscriptions,
  };
}
