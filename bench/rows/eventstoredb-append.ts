import { openBareEventStoreDBAppender } from '../contestants/bare-eventstoredb-appender.ts';
import { openEventStoreDBLog } from '../contestants/bench-log.ts';
import { openLedgerAppender } from '../contestants/ledger-appender.ts';
import { percent, perSecond } from '../format.ts';
import { interleave, medianRatio, warmUp, type Rounds } from '../rounds.ts';
import type { EventStoreSetting, Line, Row } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL_OF_LIMIT = 0.8;
const CALLERS = [64, 256];

type Contestant = 'ours' | 'bare';

export const eventStoreDBAppendRow: Row<EventStoreSetting> = {
  name: 'eventstoredb-append',
  async measure(setting) {
    const lines: Line[] = [];
    const rounds: Record<string, Rounds<Contestant>> = {};
    for (const callers of CALLERS) {
      const measured = await measureCallers(setting, callers);
      const line = lineOf(callers, measured);
      rounds[line.row] = measured;
      lines.push(line);
    }
    return {
      lines,
      notes: [
        'eventstoredb-append: events/s over 1,000 streams with exact revisions, a fresh log ' +
          'for each line and contestant; the limit is appendToStream of the bare client with ' +
          'the same events, one client in the same process, in turn.',
      ],
      rounds,
    };
  },
};

async function measureCallers(
  { eventStore, rounds, isQuick }: EventStoreSetting,
  callers: number,
): Promise<Rounds<Contestant>> {
  const durationMs = isQuick ? 150 : 1_500;
  const load = { callers, eventsPerAppend: 1 };
  const log = await openEventStoreDBLog(eventStore.freshLog().url);
  const ours = await openLedgerAppender(log, load);
  const bare = openBareEventStoreDBAppender(eventStore.freshLog(), load);
  const contestants = {
    ours: () => ours.run(durationMs),
    bare: () => bare.run(durationMs),
  };
  await warmUp(contestants);
  const measured = await interleave(rounds, contestants);
  for (const appender of [ours, bare]) {
    await appender.verify();
    await appender.close();
  }
  return measured;
}

function lineOf(callers: number, { ours, bare }: Rounds<Contestant>): Line {
  const ofLimit = medianRatio(ours, bare);
  return {
    row: `EventStoreDB append, ${callers} callers`,
    ours: perSecond(median(ours)),
    limit: `${perSecond(median(bare))} (bare client)`,
    ratios: percent(ofLimit),
    goal: `>= ${percent(GOAL_OF_LIMIT)}`,
    isMet: ofLimit >= GOAL_OF_LIMIT,
  };
}
