import type * as databaseModule from '../../src/database/database.ts';
import type * as migrationsModule from '../../src/database/migrations.ts';
import type { Database } from '../../src/database/database.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { backlogRuns, ofOurs } from '../backlog-runs.ts';
import { compiled } from '../build.ts';
import { fillEmmettLog } from '../contestants/emmett-backlog.ts';
import { fillSensorLog } from '../contestants/sensor-log.ts';
import { fillTenancyLog } from '../contestants/tenancy-log.ts';
import { fillUsageLog } from '../contestants/usage-log.ts';
import { mebibytes, percent, perSecond, times } from '../format.ts';
import { best, interleave, medianRatio, type Rounds } from '../rounds.ts';
import type { Line, Row, Setting } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL_OF_PEER = 20;
const GOAL_OF_LIMIT = 0.3;
const GOAL_OF_MEMORY_BYTES = 300 * 1024 * 1024;
const SENSORS = 1_000;
const SIMS = 1_000;

export const rebuildRow: Row = {
  name: 'rebuild',
  async measure(setting) {
    const { server, isQuick, rounds } = setting;
    const stateEvents = isQuick ? 8_000 : 1_000_000;
    const devices = isQuick ? 2_000 : 100_000;
    const usageEvents = isQuick ? 8_000 : 500_000;
    const ofPeer = isQuick ? 2_000 : 8_000;
    await makeLog(setting, 'rebuild_state', (database) =>
      fillSensorLog(database, {
        prefix: 's',
        sensors: SENSORS,
        eventsPerSensor: stateEvents / SENSORS,
      }),
    );
    await makeLog(setting, 'rebuild_tenancy', (database) => fillTenancyLog(database, devices));
    await makeLog(setting, 'rebuild_usage', (database) =>
      fillUsageLog(database, { organization: 'org', sims: SIMS, hours: usageEvents / SIMS }),
    );
    await fillEmmettLog(await server.createDatabase('rebuild_peer'), SENSORS, ofPeer / SENSORS);

    const { details, enter } = backlogRuns(setting);
    const rebuilding = new URL('../contestants/rebuild-child.ts', import.meta.url);
    const reading = new URL('../contestants/read-backlog-child.ts', import.meta.url);
    const emmett = new URL('../contestants/emmett-backlog-child.ts', import.meta.url);
    const state = {
      template: 'rebuild_state',
      args: ofOurs({ projection: 'state', events: stateEvents }),
    };
    const tenancy = {
      template: 'rebuild_tenancy',
      args: ofOurs({ projection: 'tenancy', events: 2 * devices }),
    };
    const usage = {
      template: 'rebuild_usage',
      args: ofOurs({ projection: 'usage', events: usageEvents + SIMS }),
    };
    const emmettRebuilds = (form: string) =>
      enter(form, {
        template: 'rebuild_peer',
        entry: emmett,
        args: (databaseUrl) => [databaseUrl, form, 'rebuild'],
      });
    const measured = await interleave(rounds, {
      state: enter('state', { ...state, entry: rebuilding }),
      stateRead: enter('state read', { ...state, entry: reading }),
      document: emmettRebuilds('document'),
      sql: emmettRebuilds('sql'),
      tenancy: enter('tenancy', { ...tenancy, entry: rebuilding }),
      tenancyRead: enter('tenancy read', { ...tenancy, entry: reading }),
      usage: enter('usage', { ...usage, entry: rebuilding }),
      usageRead: enter('usage read', { ...usage, entry: reading }),
    });
    for (const name of ['rebuild_state', 'rebuild_tenancy', 'rebuild_usage', 'rebuild_peer']) {
      await server.dropDatabase(name);
    }

    const peer = best(measured, ['document', 'sql']);
    const ofPeerRatio = medianRatio(measured.state, measured[peer]);
    const stateLine = lineOf('state', stateEvents, measured.state, measured.stateRead);
    const lost = Math.max(...(details['sql'] ?? []).map((result) => result.lost ?? 0));
    const peakRssBytes = median((details['state'] ?? []).map((result) => result.peakRssBytes));
    return {
      lines: [
        {
          ...stateLine.line,
          peer: `${perSecond(median(measured[peer]))} (${peer}, ${ofPeer.toLocaleString('en')})`,
          ratios: `${times(ofPeerRatio)}, ${percent(stateLine.ofLimit)}`,
          goal: `>= ${GOAL_OF_PEER}x, >= ${percent(GOAL_OF_LIMIT)}`,
          isMet: ofPeerRatio >= GOAL_OF_PEER && stateLine.ofLimit >= GOAL_OF_LIMIT,
        },
        lineOf('tenancy', 2 * devices, measured.tenancy, measured.tenancyRead).line,
        lineOf('usage', usageEvents + SIMS, measured.usage, measured.usageRead).line,
        {
          row: 'peak memory while rebuilding state',
          ours: mebibytes(peakRssBytes),
          ratios: mebibytes(peakRssBytes),
          goal: `< ${mebibytes(GOAL_OF_MEMORY_BYTES)}`,
          isMet: peakRssBytes < GOAL_OF_MEMORY_BYTES,
        },
      ],
      notes: [
        'rebuild: from the request to the swap, with nothing else running, each round on a ' +
          'fresh copy of the log and in a fresh process; the limit only reads the events that ' +
          `the projection handles. The peer is emmett's rebuildPostgreSQLProjections on ` +
          `${ofPeer.toLocaleString('en')} events (1,000 a batch, no pause): a pongo document ` +
          `per stream ${perSecond(median(measured.document))}, plain SQL with state and ` +
          `history ${perSecond(median(measured.sql))}; it lost ${lost} of them.`,
      ],
      rounds: details,
    };
  },
};

function lineOf(
  projection: string,
  events: number,
  ours: Rounds<string>[string],
  reading: Rounds<string>[string],
): { line: Line; ofLimit: number } {
  const ofLimit = medianRatio(ours, reading);
  return {
    ofLimit,
    line: {
      row: `rebuild ${projection}, ${events.toLocaleString('en')} events`,
      ours: perSecond(median(ours)),
      limit: perSecond(median(reading)),
      ratios: percent(ofLimit),
      goal: `>= ${percent(GOAL_OF_LIMIT)}`,
      isMet: ofLimit >= GOAL_OF_LIMIT,
    },
  };
}

/** A log, and nothing read from it yet: a template, so nobody stays connected to it. */
async function makeLog(
  { server }: Setting,
  name: string,
  fill: (database: Database) => Promise<void>,
): Promise<void> {
  const { openDatabase } = await compiled<typeof databaseModule>('database/database.ts');
  const { migrate } = await compiled<typeof migrationsModule>('database/migrations.ts');
  const logger = createLogger('warn');
  const database = openDatabase({
    url: await server.createDatabase(name),
    logger,
    queryTimeoutMs: 600_000,
  });
  await migrate(database, logger);
  await fill(database);
  await database.close();
}
