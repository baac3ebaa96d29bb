import type { EventStore } from '../../src/event-store/port.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import type * as idsModule from '../../src/shared/ids.ts';
import { compiled } from '../build.ts';
import type { AppendLoad } from './append-load.ts';
import { appenderTo, type Append, type Appender } from './appender.ts';
import type { BenchLog } from './bench-log.ts';

/** Ours: `EventStore.append`, one write a call, each with the exact revision of its stream. */
export async function openLedgerAppender(log: BenchLog, load: AppendLoad): Promise<Appender> {
  return appenderTo(
    {
      append: await ledgerAppend(log.store),
      countStored: (streams) => log.countStored(streams),
      close: () => log.close(),
    },
    load,
  );
}

export async function ledgerAppend(store: EventStore): Promise<Append> {
  const { newEventId } = await compiled<typeof idsModule>('shared/ids.ts');
  return async (stream, events, expectedRevision) => {
    const [appended] = await store.append([
      {
        stream: stream as StreamName,
        events: events.map((event) => ({ id: newEventId(), ...event })),
        expectedRevision: expectedRevision ?? 'no-stream',
      },
    ]);
    if (appended?.outcome !== 'appended') {
      throw new Error(`an append was refused: ${String(appended?.outcome)}`);
    }
    return appended;
  };
}
