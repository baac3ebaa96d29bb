import { brokerClasspath, startBroker } from './broker.ts';

/**
 * The Kafka broker of the slow tests: the one at KAFKA_TEST_BROKERS, or one from the jars of
 * KAFKA_TEST_CLASSPATH_FILE, or none.
 */
export default async function setUp(): Promise<() => Promise<void>> {
  const classpath = brokerClasspath();
  if (process.env['KAFKA_TEST_BROKERS'] || classpath === undefined) return async () => undefined;
  const broker = await startBroker(classpath);
  process.env['KAFKA_TEST_BROKERS'] = broker.address;
  return () => broker.close();
}
