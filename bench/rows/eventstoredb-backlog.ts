import { backlogRuns, ofOurs } from '../backlog-runs.ts';
import { appendSensorLog } from '../contestants/appended-sensor-log.ts';
import type { BacklogResult } from '../contestants/backlog-result.ts';
import { READING_FORMS, type BareReading, type ReadingForm } from '../contestants/bare-reading.ts';
import { mebibytes, percent, perSecond } from '../format.ts';
import { best, interleave, medianRatio } from '../rounds.ts';
import type { EventStoreSetting, Row } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL_OF_LIMIT = 0.3;
const SENSORS = 1_000;

interface Ours {
  readonly name: string;
  /** What is done, as the line of the table says it. */
  readonly title: string;
  readonly entry: URL;
  readonly note: string;
}

export const eventStoreDBBacklogRow = rowOf({
  name: 'eventstoredb-backlog',
  title: 'projecting',
  entry: new URL('../contestants/project-backlog-child.ts', import.meta.url),
  note: 'ours is the whole engine (tenancy and state) from empty to the head',
});

export const eventStoreDBRebuildRow = rowOf({
  name: 'eventstoredb-rebuild',
  title: 'rebuild state,',
  entry: new URL('../contestants/rebuild-child.ts', import.meta.url),
  note: 'ours is one projection from the request to the swap, with nothing else running',
});

/** Into the read model, beside only reading the same events. */
function rowOf({ name, title, entry, note }: Ours): Row<EventStoreSetting> {
  return {
    name,
    async measure(setting) {
      const { eventStore, rounds, isQuick, profileDir } = setting;
      const events = isQuick ? 3_000 : 50_000;
      const log = eventStore.freshLog();
      await appendSensorLog(log.url, { sensors: SENSORS, eventsPerSensor: events / SENSORS });

      const { details, enter } = backlogRuns(setting);
      const bare = (form: ReadingForm) => {
        const { connectionString, streamPrefix } = log;
        const prefix = `${streamPrefix}sensor-`;
        const reading: BareReading = { connectionString, form, prefix, events };
        return enter(form, {
          entry: new URL('../contestants/read-eventstoredb-child.ts', import.meta.url),
          args: () => [JSON.stringify(reading)],
        });
      };
      const measured = await interleave(rounds, {
        ours: enter('ours', {
          entry,
          args: ofOurs({ projection: 'state', events, eventStoreUrl: log.url }),
          profileDir,
        }),
        readAll: bare('readAll'),
        subscribeToAll: bare('subscribeToAll'),
      });

      const limit = best(measured, READING_FORMS);
      const ofLimit = medianRatio(measured.ours, measured[limit]);
      return {
        lines: [
          {
            row: `EventStoreDB ${title} ${events.toLocaleString('en')} events`,
            ours: perSecond(median(measured.ours)),
            limit: `${perSecond(median(measured[limit]))} (${limit})`,
            ratios: percent(ofLimit),
            goal: `>= ${percent(GOAL_OF_LIMIT)}`,
            isMet: ofLimit >= GOAL_OF_LIMIT,
          },
        ],
        notes: [
          `${name}: ${note}, 1,000 sensors, each round with a fresh database for the read ` +
            `model and in a fresh process, at most ${mebibytes(peakOf(details['ours'] ?? []))} ` +
            'of memory. The limit is the bare client that reads the same events and drops ' +
            `them: readAll ${perSecond(median(measured.readAll))}, subscribeToAll with a ` +
            `filter ${perSecond(median(measured.subscribeToAll))}; the faster counts. All but ` +
            'the latter are given what else the server holds, too: measure on one that holds ' +
            'little.',
        ],
        rounds: details,
      };
    },
  };
}

function peakOf(results: readonly BacklogResult[]): number {
  return Math.max(...results.map(({ peakRssBytes }) => peakRssBytes));
}
