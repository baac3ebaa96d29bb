/* oxlint-disable vitest/valid-title, vitest/no-conditional-tests, vitest/no-disabled-tests -- it defines what others name */
import { describe, test } from 'vitest';
import { brokerClasspath } from './broker.ts';

const HOW =
  'set KAFKA_TEST_CLASSPATH_FILE (see test/kafka/classpath), or KAFKA_TEST_BROKERS for a ' +
  'broker of yours';

/** The brokers that the tests share; none where there are none. */
export function testBrokers(): readonly string[] {
  const given = process.env['KAFKA_TEST_BROKERS'] ?? '';
  return given === '' ? [] : given.split(',');
}

/** Tests that share the broker of the run. */
export function describeWithKafka(name: string, define: () => void): void {
  if (testBrokers().length > 0) describe(name, define);
  else leaveOut(name, define, `there is no Kafka: ${HOW}`);
}

/** Tests that start brokers, and kill them. */
export function describeWithOwnKafka(name: string, define: (classpath: string) => void): void {
  const classpath = brokerClasspath();
  if (classpath !== undefined) describe(name, () => define(classpath));
  else leaveOut(name, () => define(''), 'it kills brokers: set KAFKA_TEST_CLASSPATH_FILE');
}

/** Never in silence; and where everything is to be run (`TEST_KAFKA=required`), it is a failure. */
function leaveOut(name: string, define: () => void, reason: string): void {
  if (process.env['TEST_KAFKA'] === 'required') {
    test(name, () => {
      throw new Error(`left out, and nothing is to be: ${reason}`);
    });
    return;
  }
  console.warn(`left out: ${name} (${reason})`);
  describe.skip(name, define);
}
