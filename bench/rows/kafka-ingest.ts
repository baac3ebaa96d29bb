import { brokerClasspath, startBroker } from '../../test/kafka/broker.ts';
import { openBareInserter, type InsertForm } from '../contestants/bare-inserter.ts';
import { openPostgresLog } from '../contestants/bench-log.ts';
import { ingestUsage, usageRows } from '../contestants/usage-ingesting.ts';
import { fillUsageTopic } from '../contestants/usage-topic.ts';
import { percent, perSecond } from '../format.ts';
import { best, interleave, medianRatio, warmUp, type Rounds } from '../rounds.ts';
import type { Line, Row, Setting } from '../row.ts';
import { median } from '../statistics.ts';

const GOAL_OF_LIMIT = 0.5;
const ROWS_PER_STATEMENT = 1_000;
const FORMS: readonly InsertForm[] = ['values', 'unnest'];

export const kafkaIngestRow: Row = {
  name: 'kafka-ingest',
  async measure(setting) {
    const broker = await openBroker();
    if (broker === undefined) {
      const note =
        'kafka-ingest: left out, as there is no broker: set KAFKA_TEST_CLASSPATH_FILE or ' +
        'KAFKA_TEST_BROKERS (README, "Working on it").';
      return { lines: [], notes: [note], rounds: {} };
    }
    try {
      const rounds = await measureRounds(setting, broker.brokers);
      return {
        lines: [lineOf(rounds)],
        notes: [
          'kafka-ingest: events/s from joining the group to the last durable event, of a ' +
            'topic with 6 partitions that is full beforehand; the peer is a kafkajs consumer ' +
            'of it that does nothing but commit, the limit a bare prepared insert of the same ' +
            'rows (1,000 a statement), the faster of VALUES and unnest.',
        ],
        rounds,
      };
    } finally {
      await broker.close();
    }
  },
};

async function openBroker(): Promise<
  { readonly brokers: readonly string[]; close(): Promise<void> } | undefined
> {
  const given = process.env['KAFKA_TEST_BROKERS'];
  if (given) return { brokers: given.split(','), close: () => Promise.resolve() };
  const classpath = brokerClasspath();
  if (classpath === undefined) return undefined;
  const broker = await startBroker(classpath);
  return { brokers: [broker.address], close: () => broker.close() };
}

async function measureRounds(
  { server, rounds, isQuick }: Setting,
  brokers: readonly string[],
): Promise<Rounds<string>> {
  const topic = await fillUsageTopic(brokers, isQuick ? 2 : 70);
  const log = await openPostgresLog(await server.createDatabase('kafka_ours'));
  const contestants: Record<string, () => Promise<number>> = {
    ours: async () => {
      await server.checkpoint();
      return ingestUsage(topic, log);
    },
    consumer: () => topic.consume(),
  };
  const closing = [() => log.close(), () => topic.close()];
  for (const form of FORMS) {
    const url = await server.createDatabase(`kafka_${form}`);
    const inserter = await openBareInserter(url, form, ROWS_PER_STATEMENT, usageRows());
    closing.push(() => inserter.close());
    contestants[form] = async () => {
      await server.checkpoint();
      return inserter.run(isQuick ? 100 : 2_000);
    };
  }
  await warmUp(contestants);
  const measured = await interleave(rounds, contestants);
  for (const close of closing) await close();
  for (const name of ['kafka_ours', ...FORMS.map((form) => `kafka_${form}`)]) {
    await server.dropDatabase(name);
  }
  return measured;
}

function lineOf(rounds: Rounds<string>): Line {
  const ours = rounds['ours'] ?? [];
  const consumer = rounds['consumer'] ?? [];
  const limit = best(rounds, FORMS);
  const ofLimit = medianRatio(ours, rounds[limit] ?? []);
  return {
    row: 'Kafka to durable events',
    ours: perSecond(median(ours)),
    peer: `${perSecond(median(consumer))} (no-op consumer)`,
    limit: `${perSecond(median(rounds[limit] ?? []))} (${limit})`,
    ratios: `${percent(medianRatio(ours, consumer))}, ${percent(ofLimit)}`,
    goal: `>= ${percent(GOAL_OF_LIMIT)} of the limit`,
    isMet: ofLimit >= GOAL_OF_LIMIT,
  };
}
