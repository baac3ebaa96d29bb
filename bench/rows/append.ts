import { openBareInserter, sensorRows, type InsertForm } from '../contestants/bare-inserter.ts';
import type { AppendLoad } from '../contestants/append-load.ts';
import type { Appender } from '../contestants/appender.ts';
import { openPostgresLog } from '../contestants/bench-log.ts';
import { openEmmettAppender } from '../contestants/emmett-appender.ts';
import { openLedgerAppender } from '../contestants/ledger-appender.ts';
import { percent, perSecond, times } from '../format.ts';
import { best, interleave, medianRatio, warmUp, type Rounds } from '../rounds.ts';
import type { Line, Row, Setting } from '../row.ts';
import { median } from '../statistics.ts';

interface Subrow extends AppendLoad {
  readonly name: string;
  /** The peer is measured with each of these, and its best counts. */
  readonly peerCallers: readonly number[];
  readonly rowsPerStatement: number;
  readonly goalOfPeer?: number;
  readonly goalOfLimit: number;
}

const SUBROWS: readonly Subrow[] = [
  {
    name: 'append, 1 event, 64 callers',
    callers: 64,
    eventsPerAppend: 1,
    peerCallers: [64],
    rowsPerStatement: 64,
    goalOfPeer: 8,
    goalOfLimit: 0.5,
  },
  {
    name: 'append, 1 event, 256 callers',
    callers: 256,
    eventsPerAppend: 1,
    peerCallers: [16, 64, 256],
    rowsPerStatement: 64,
    goalOfPeer: 10,
    goalOfLimit: 0.6,
  },
  {
    name: 'append, 10 events, 64 callers',
    callers: 64,
    eventsPerAppend: 10,
    peerCallers: [64],
    rowsPerStatement: 640,
    goalOfLimit: 0.8,
  },
];

const FORMS: readonly InsertForm[] = ['values', 'unnest'];

export const appendRow: Row = {
  name: 'append',
  async measure(setting) {
    const lines: Line[] = [];
    const rounds: Record<string, Rounds<string>> = {};
    for (const [index, subrow] of SUBROWS.entries()) {
      const measured = await measureSubrow(setting, subrow, `append${index}`);
      rounds[subrow.name] = measured;
      lines.push(lineOf(subrow, measured));
    }
    return {
      lines,
      notes: [
        'append: events/s over 1,000 streams with exact revisions; the peer is ' +
          'emmett-postgresql (appendToStream), the limit a bare prepared insert of the same ' +
          'rows (64 a statement, 640 for appends of 10), the faster of VALUES and unnest.',
      ],
      rounds,
    };
  },
};

async function measureSubrow(
  { server, rounds, isQuick }: Setting,
  subrow: Subrow,
  databasePrefix: string,
): Promise<Rounds<string>> {
  const durationMs = isQuick ? 150 : 1_500;
  const limitMs = isQuick ? 100 : 1_000;
  const appenders: Appender[] = [];
  const closing: (() => Promise<void>)[] = [];
  const contestants: Record<string, () => Promise<number>> = {};
  const databases: string[] = [];
  const freshDatabase = (name: string): Promise<string> => {
    databases.push(`${databasePrefix}_${name}`);
    return server.createDatabase(`${databasePrefix}_${name}`);
  };
  const enter = (name: string, appender: Appender): void => {
    appenders.push(appender);
    closing.push(() => appender.close());
    contestants[name] = async () => {
      await server.checkpoint();
      return appender.run(durationMs);
    };
  };
  const log = await openPostgresLog(await freshDatabase('ours'));
  enter('ours', await openLedgerAppender(log, subrow));
  for (const callers of subrow.peerCallers) {
    const url = await freshDatabase(`peer${callers}`);
    enter(peerName(callers), await openEmmettAppender(url, { ...subrow, callers }));
  }
  for (const form of FORMS) {
    const url = await freshDatabase(form);
    const inserter = await openBareInserter(url, form, subrow.rowsPerStatement, sensorRows(subrow));
    closing.push(() => inserter.close());
    contestants[form] = async () => {
      await server.checkpoint();
      return inserter.run(limitMs);
    };
  }
  await warmUp(contestants);
  const measured = await interleave(rounds, contestants);
  for (const appender of appenders) await appender.verify();
  for (const close of closing) await close();
  for (const name of databases) await server.dropDatabase(name);
  return measured;
}

function peerName(callers: number): string {
  return `peer, ${callers} callers`;
}

function lineOf(subrow: Subrow, rounds: Rounds<string>): Line {
  const { name, peerCallers, goalOfPeer, goalOfLimit } = subrow;
  const ours = rounds['ours'] ?? [];
  const peer = best(
    rounds,
    peerCallers.map((callers) => peerName(callers)),
  );
  const limit = best(rounds, FORMS);
  const ofPeer = medianRatio(ours, rounds[peer] ?? []);
  const ofLimit = medianRatio(ours, rounds[limit] ?? []);
  const peerText = perSecond(median(rounds[peer] ?? []));
  return {
    row: name,
    ours: perSecond(median(ours)),
    peer: peerCallers.length > 1 ? `${peerText} (${peer.slice('peer, '.length)})` : peerText,
    limit: `${perSecond(median(rounds[limit] ?? []))} (${limit})`,
    ratios: `${times(ofPeer)}, ${percent(ofLimit)}`,
    goal: [
      ...(goalOfPeer === undefined ? [] : [`>= ${goalOfPeer}x`]),
      `>= ${percent(goalOfLimit)}`,
    ].join(', '),
    isMet: (goalOfPeer === undefined || ofPeer >= goalOfPeer) && ofLimit >= goalOfLimit,
  };
}
