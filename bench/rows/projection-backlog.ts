import type * as databaseModule from '../../src/database/database.ts';
import type * as migrationsModule from '../../src/database/migrations.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { backlogRuns, ofOurs } from '../backlog-runs.ts';
import { compiled } from '../build.ts';
import { fillEmmettLog } from '../contestants/emmett-backlog.ts';
import { fillSensorLog } from '../contestants/sensor-log.ts';
import { mebibytes, percent, perSecond, times } from '../format.ts';
import { best, interleave, medianRatio } from '../rounds.ts';
import type { Row, Setting } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL_OF_PEER = 20;
const GOAL_OF_LIMIT = 0.3;
/**
 * Flat: four times the events take no more than this. A heap takes a second or two to grow to the
 * size it keeps, which the short backlog ends within.
 */
const GOAL_OF_MEMORY = 1.5;

const SENSORS = 1_000;

export const projectionBacklogRow: Row = {
  name: 'projection-backlog',
  async measure(setting) {
    const { server, rounds, isQuick } = setting;
    const all = isQuick ? 8_000 : 200_000;
    const few = all / 4;
    const ofPeer = isQuick ? 2_000 : 8_000;
    await makeLog(setting, 'backlog_all', all);
    await makeLog(setting, 'backlog_few', few);
    await fillEmmettLog(await server.createDatabase('backlog_peer'), SENSORS, ofPeer / SENSORS);

    const { details, enter } = backlogRuns(setting);
    const ours = new URL('../contestants/project-backlog-child.ts', import.meta.url);
    const emmett = new URL('../contestants/emmett-backlog-child.ts', import.meta.url);
    const reading = new URL('../contestants/read-backlog-child.ts', import.meta.url);
    const ofAll = { template: 'backlog_all', args: ofOurs({ projection: 'state', events: all }) };
    const ofFew = { template: 'backlog_few', args: ofOurs({ projection: 'state', events: few }) };
    const emmettProjects = (form: string) =>
      enter(form, {
        template: 'backlog_peer',
        entry: emmett,
        args: (databaseUrl) => [databaseUrl, form],
      });
    const measured = await interleave(rounds, {
      ours: enter('ours', { ...ofAll, entry: ours, profileDir: setting.profileDir }),
      document: emmettProjects('document'),
      sql: emmettProjects('sql'),
      limit: enter('limit', { ...ofAll, entry: reading }),
      few: enter('few', { ...ofFew, entry: ours }),
    });
    for (const name of ['backlog_all', 'backlog_few', 'backlog_peer']) {
      await server.dropDatabase(name);
    }

    const peer = best(measured, ['document', 'sql']);
    const ratioOfPeer = medianRatio(measured.ours, measured[peer]);
    const ratioOfLimit = medianRatio(measured.ours, measured.limit);
    const peakOfAll = median((details['ours'] ?? []).map(({ peakRssBytes }) => peakRssBytes));
    const peakOfFew = median((details['few'] ?? []).map(({ peakRssBytes }) => peakRssBytes));
    const before = median((details['ours'] ?? []).map(({ rssBeforeBytes }) => rssBeforeBytes));
    const [allText, fewText, peerText] = [all, few, ofPeer].map((count) =>
      count.toLocaleString('en'),
    );
    return {
      lines: [
        {
          row: `projecting ${allText} state events`,
          ours: perSecond(median(measured.ours)),
          peer: `${perSecond(median(measured[peer]))} (${peer}, ${peerText})`,
          limit: perSecond(median(measured.limit)),
          ratios: `${times(ratioOfPeer)}, ${percent(ratioOfLimit)}`,
          goal: `>= ${GOAL_OF_PEER}x, >= ${percent(GOAL_OF_LIMIT)}`,
          isMet: ratioOfPeer >= GOAL_OF_PEER && ratioOfLimit >= GOAL_OF_LIMIT,
        },
        {
          row: 'peak memory while projecting',
          ours: mebibytes(peakOfAll),
          limit: `${mebibytes(peakOfFew)} (${fewText})`,
          ratios: times(peakOfAll / peakOfFew),
          goal: `<= ${GOAL_OF_MEMORY}x`,
          isMet: peakOfAll / peakOfFew <= GOAL_OF_MEMORY,
        },
      ],
      notes: [
        'projection-backlog: ours is the whole engine (tenancy and state) from empty to the ' +
          'head, 1,000 sensors, each round on a fresh copy of the log and in a fresh process; ' +
          `the limit only reads the same events through the port. The peer is emmett's ` +
          `consumer with one projector on ${peerText} events (1,000 a batch, no pause), as it ` +
          'is too slow for more: a pongo document per stream (without history) ' +
          `${perSecond(median(measured.document))}, plain SQL with state and history ` +
          `${perSecond(median(measured.sql))}; the faster counts.`,
        `projection-backlog: resident memory sampled every 10 ms, ${mebibytes(before)} ` +
          'before the first event.',
      ],
      rounds: details,
    };
  },
};

/** A log, and nothing read from it yet: a template, so nobody stays connected to it. */
async function makeLog({ server }: Setting, name: string, events: number): Promise<void> {
  const { openDatabase } = await compiled<typeof databaseModule>('database/database.ts');
  const { migrate } = await compiled<typeof migrationsModule>('database/migrations.ts');
  const logger = createLogger('warn');
  const database = openDatabase({ url: await server.createDatabase(name), logger });
  await migrate(database, logger);
  await fillSensorLog(database, {
    prefix: 's',
    sensors: SENSORS,
    eventsPerSensor: events / SENSORS,
  });
  await database.close();
}
