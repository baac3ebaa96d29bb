import { randomUUID } from 'node:crypto';
import type * as foldedStatesModule from '../../src/commands/core/folded-states.ts';
import type * as handlerModule from '../../src/commands/core/handler.ts';
import type * as stateModule from '../../src/commands/state/commands.ts';
import type * as snapshotsModule from '../../src/event-store/postgres/postgres-snapshot-store.ts';
import type { StateCommands } from '../../src/commands/state/commands.ts';
import type { Ledger } from '../../src/service/ledger.ts';
import { compiled } from '../build.ts';
import { openBenchLedger } from '../contestants/open-ledger.ts';
import { BENCH_PROJECT } from '../contestants/sensor-event.ts';
import { fillSensorLog } from '../contestants/sensor-log.ts';
import { addedMilliseconds, milliseconds, times } from '../format.ts';
import type { Row, Setting } from '../row.ts';
import { median, percentile } from '../statistics.ts';

const GOAL_WARM = 1.2;
const GOAL_COLD_ADDED_MS = 50;
const EVENTS_OF_SHORT = 10;
/** A snapshot is taken every 500 events: as many cold starts meet every distance from one. */
const COLD_STARTS = 500;

interface Sizes {
  readonly eventsOfLong: number;
  readonly shortSensors: number;
  readonly warmPerRound: number;
  readonly coldStarts: number;
}

/** Alternated samples, in ms. */
interface Samples {
  readonly long: number[];
  readonly short: number[];
}

export const longStreamRow: Row = {
  name: 'long-stream',
  async measure(setting) {
    const { server } = setting;
    const sizes = sizesOf(setting);
    const ledger = await openBenchLedger(await server.createDatabase('long_stream'));
    await fillSensorLog(ledger.database, {
      prefix: 'long',
      sensors: 1,
      eventsPerSensor: sizes.eventsOfLong,
    });
    await fillSensorLog(ledger.database, {
      prefix: 'short',
      sensors: sizes.shortSensors,
      eventsPerSensor: EVENTS_OF_SHORT,
    });
    await server.checkpoint();

    const warm: Samples[] = [];
    const commands = await freshCommands(ledger);
    // The first command of all folds the whole stream, and leaves a snapshot.
    const firstFoldMs = await timePatch(commands, 'long0');
    for (let short = 0; short < sizes.shortSensors; short++) {
      await timePatch(commands, `short${short}`);
    }
    for (let round = 0; round < setting.rounds; round++) {
      warm.push(await alternate(sizes.warmPerRound, sizes.shortSensors, () => commands));
    }
    const cold = await alternate(sizes.coldStarts, sizes.shortSensors, () => freshCommands(ledger));
    const stored = await lastRevision(ledger);
    await ledger.close();
    await server.dropDatabase('long_stream');

    const warmRatio = median(warm.map(({ long, short }) => median(long) / median(short)));
    const coldAddedMs = median(cold.long) - median(cold.short);
    const coldWorstAddedMs = percentile(cold.long, 99) - median(cold.short);
    const long = sizes.eventsOfLong.toLocaleString('en');
    const patches = setting.rounds * sizes.warmPerRound + sizes.coldStarts;
    const longestShort = EVENTS_OF_SHORT + Math.ceil(patches / sizes.shortSensors) + 1;
    return {
      lines: [
        {
          row: `command on ${long} events, warm`,
          ours: milliseconds(median(warm.flatMap((round) => round.long))),
          limit:
            `${milliseconds(median(warm.flatMap((round) => round.short)))} (on ` +
            `${EVENTS_OF_SHORT})`,
          ratios: times(warmRatio),
          goal: `<= ${GOAL_WARM}x`,
          isMet: warmRatio <= GOAL_WARM,
        },
        {
          row: `command on ${long} events, cold`,
          ours:
            `${milliseconds(median(cold.long))}, ` +
            `p99 ${milliseconds(percentile(cold.long, 99))}`,
          limit: `${milliseconds(median(cold.short))} (on ${EVENTS_OF_SHORT})`,
          ratios: `${addedMilliseconds(coldAddedMs)}, p99 ${addedMilliseconds(coldWorstAddedMs)}`,
          goal: `<= +${GOAL_COLD_ADDED_MS} ms`,
          isMet: coldWorstAddedMs <= GOAL_COLD_ADDED_MS,
        },
      ],
      notes: [
        'long-stream: one patch at a time through StateCommands, durable; samples on the ' +
          `long stream and on ${sizes.shortSensors} streams of ${EVENTS_OF_SHORT} to ` +
          `${longestShort} ` +
          'events alternate. Cold: a new handler with an empty cache for each sample; the ' +
          'distance from the last snapshot goes through all it can be. Judged by p99.',
        `long-stream: the very first command, without a snapshot, folded ${long} events in ` +
          `${milliseconds(firstFoldMs)}; afterwards the stream held ${stored + 1n}.`,
      ],
      rounds: { firstFoldMs, warm: warm.map(summary), cold: summary(cold) },
    };
  },
};

function summary({ long, short }: Samples): object {
  const parts = (ms: readonly number[]): object => ({
    samples: ms.length,
    p50Ms: percentile(ms, 50),
    p99Ms: percentile(ms, 99),
    maxMs: Math.max(...ms),
  });
  return { long: parts(long), short: parts(short) };
}

function sizesOf({ isQuick }: Setting): Sizes {
  return isQuick
    ? { eventsOfLong: 20_000, shortSensors: 20, warmPerRound: 20, coldStarts: 20 }
    : {
        eventsOfLong: 1_000_000,
        shortSensors: 500,
        warmPerRound: 500,
        coldStarts: COLD_STARTS,
      };
}

/** Commands that have nothing in memory yet. */
async function freshCommands({ store, database, logger }: Ledger): Promise<StateCommands> {
  const { CommandHandler } = await compiled<typeof handlerModule>('commands/core/handler.ts');
  const { FoldedStates } = await compiled<typeof foldedStatesModule>(
    'commands/core/folded-states.ts',
  );
  const { StateCommands } = await compiled<typeof stateModule>('commands/state/commands.ts');
  const { openPostgresSnapshotStore } = await compiled<typeof snapshotsModule>(
    'event-store/postgres/postgres-snapshot-store.ts',
  );
  const states = new FoldedStates(store, openPostgresSnapshotStore(database, store.logId), logger);
  return new StateCommands({ handler: new CommandHandler(store, states), store });
}

async function alternate(
  samples: number,
  shortSensors: number,
  commands: () => StateCommands | Promise<StateCommands>,
): Promise<Samples> {
  const long: number[] = [];
  const short: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    long.push(await timePatch(await commands(), 'long0'));
    short.push(await timePatch(await commands(), `short${sample % shortSensors}`));
  }
  return { long, short };
}

let nextTemperature = 10_000_000;

async function timePatch(commands: StateCommands, sensorId: string): Promise<number> {
  const patch = { temperature: nextTemperature++ };
  const incoming = { patch, receivedAt: new Date() };
  const context = { projectId: BENCH_PROJECT, actor: 'bench', correlationId: randomUUID() };
  const startedAtMs = performance.now();
  const result = await commands.patch(sensorId, incoming, context);
  const elapsedMs = performance.now() - startedAtMs;
  if (result.outcome !== 'patched') throw new Error(`a patch was taken for a duplicate`);
  return elapsedMs;
}

async function lastRevision({ database }: Ledger): Promise<bigint> {
  const [row] = await database.query<{ revision: bigint }>({
    text: 'select max(revision) as revision from ledger.events where stream = $1',
    values: [`sensor-${BENCH_PROJECT}.long0`],
  });
  return row?.revision ?? -1n;
}
