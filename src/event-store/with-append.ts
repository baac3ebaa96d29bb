import type { EventStore, OpenEventStore } from './port.ts';

/** The log with another way to append; everything else is done by the log itself. */
export function withAppend(log: OpenEventStore, append: EventStore['append']): OpenEventStore {
  return {
    logId: log.logId,
    copyTarget: log.copyTarget,
    get resumedSubscriptions() {
      return log.resumedSubscriptions;
    },
    append,
    readStream: (stream, options) => log.readStream(stream, options),
    readAll: (options) => log.readAll(options),
    subscribe: (options) => log.subscribe(options),
    head: () => log.head(),
    end: () => log.end(),
    positionAt: (time) => log.positionAt(time),
    close: () => log.close(),
  };
}
