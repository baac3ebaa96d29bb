import { openBareEventStoreDBVisibility } from '../contestants/bare-eventstoredb-visibility.ts';
import { pacedAppends, visibilityOf, type Visibility } from '../contestants/paced-appends.ts';
import {
  openLedgerVisibility,
  type VisibilityContestant,
} from '../contestants/visibility-contestant.ts';
import { milliseconds, times } from '../format.ts';
import { interleave, medianRatio } from '../rounds.ts';
import type { EventStoreSetting, Line, Row, Setting } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL_P99_MS = 50;
const APPENDS_PER_SECOND = 1_000;
const SENSORS = 1_000;

export const visibilityRow: Row = {
  name: 'visibility',
  async measure(setting) {
    const { server } = setting;
    const ours = await openLedgerVisibility(await server.createDatabase('visibility'));
    const measured = await measureInTurn(setting, { ours });
    await server.dropDatabase('visibility');
    return {
      lines: [lineOf('append to visible, 1,000/s', measured.ours)],
      notes: [noteOf('visibility', measured.ours)],
      rounds: measured.ours,
    };
  },
};

export const eventStoreDBVisibilityRow: Row<EventStoreSetting> = {
  name: 'eventstoredb-visibility',
  async measure(setting) {
    const { server, eventStore } = setting;
    const url = await server.createDatabase('visibility');
    const measured = await measureInTurn(setting, {
      ours: await openLedgerVisibility(url, eventStore.freshLog().url),
      bare: openBareEventStoreDBVisibility(eventStore.freshLog()),
    });
    await server.dropDatabase('visibility');
    const { ours, bare } = measured;
    const ofLimit = medianRatio(p99sMs(ours), p99sMs(bare));
    const line = lineOf('EventStoreDB append to visible, 1,000/s', ours);
    return {
      lines: [
        {
          ...line,
          limit: `${p50AndP99(bare)} (bare client)`,
          ratios: `${line.ratios}, ${times(ofLimit)}`,
        },
      ],
      notes: [
        `${noteOf('eventstoredb-visibility', ours)} The limit is the bare client: until its ` +
          'own subscription has given what it appended.',
      ],
      rounds: measured,
    };
  },
};

/**
 * From the moment an append is due (by the clock, so that a stall counts for all that it delays)
 * until it is visible: with ours, when the runner has committed a checkpoint at or after it, so
 * that a query that begins then sees it.
 */
async function measureInTurn<Name extends string>(
  { server, rounds, isQuick }: Setting,
  contestants: Readonly<Record<Name, VisibilityContestant>>,
): Promise<Record<Name, Visibility[]>> {
  const seconds = isQuick ? 1 : 5;
  const measured = {} as Record<Name, Visibility[]>;
  const turns = {} as Record<Name, () => Promise<number>>;
  const finishing: (() => Promise<void>)[] = [];
  for (const name of Object.keys(contestants) as Name[]) {
    const { append, moves, finish } = contestants[name];
    const revisions = Array.from({ length: SENSORS }, (): bigint | undefined => undefined);
    let appended = 0;
    const measure = async (durationSeconds: number): Promise<Visibility> => {
      const isOver = (count: number): boolean => count >= durationSeconds * APPENDS_PER_SECOND;
      const appends = await pacedAppends(append, {
        revisions,
        perSecond: APPENDS_PER_SECOND,
        isOver,
      });
      appended += appends.length;
      return visibilityOf(appends, moves);
    };
    await measure(isQuick ? 0.5 : 2);
    measured[name] = [];
    turns[name] = async () => {
      await server.checkpoint();
      const visibility = await measure(seconds);
      measured[name].push(visibility);
      return visibility.p99Ms;
    };
    finishing.push(() => finish(appended));
  }
  await interleave(rounds, turns);
  for (const finish of finishing) await finish();
  return measured;
}

function lineOf(row: string, ours: readonly Visibility[]): Line {
  const p99Ms = median(p99sMs(ours));
  return {
    row,
    ours: p50AndP99(ours),
    ratios: milliseconds(p99Ms),
    goal: `p99 < ${GOAL_P99_MS} ms`,
    isMet: p99Ms < GOAL_P99_MS,
  };
}

function noteOf(name: string, ours: readonly Visibility[]): string {
  return (
    `${name}: from the moment an append was due until the checkpoint of the state read model ` +
    `was committed at or after it, ${SENSORS.toLocaleString('en')} sensors, engine in the same ` +
    'process, nobody waiting. The append alone took ' +
    `${milliseconds(median(ours.map((round) => round.appendP50Ms)))} (p50); the slowest of all ` +
    `was visible after ${milliseconds(Math.max(...ours.map((round) => round.maxMs)))}.`
  );
}

function p50AndP99(rounds: readonly Visibility[]): string {
  const p50Ms = median(rounds.map((round) => round.p50Ms));
  return `p50 ${milliseconds(p50Ms)}, p99 ${milliseconds(median(p99sMs(rounds)))}`;
}

function p99sMs(rounds: readonly Visibility[]): number[] {
  return rounds.map((round) => round.p99Ms);
}
