import { Kafka, logLevel, type LogEntry } from 'kafkajs';
import type { Logger } from '../../shared/logger.ts';
import { registerCodecs } from './codecs.ts';

const SAME_LINE_AGAIN_AFTER_MS = 10_000;
const MAX_REMEMBERED_LINES = 100;

/**
 * The client of a cluster. It gives up early on what fails: whoever uses it begins again with a new one, which asks
 * the brokers of the settings again, and not those that it has heard of.
 */
export function kafkaClient(brokers: readonly string[], logger: Logger): Kafka {
  registerCodecs();
  return new Kafka({
    clientId: 'fleetledger',
    brokers: [...brokers],
    connectionTimeout: 3_000,
    requestTimeout: 15_000,
    retry: {
      retries: 3,
      initialRetryTime: 200,
      maxRetryTime: 1_000,
      factor: 0.2,
      multiplier: 2,
      // It would go on with the brokers that it knows, however long they are gone.
      restartOnFailure: () => Promise.resolve(false),
    },
    logLevel: logLevel.INFO,
    logCreator: () => toLogger(logger),
  });
}

/**
 * kafkajs says at the level of errors, and many times a second, that a broker is away. That passes by itself, and
 * one line in a while says as much.
 */
function toLogger(logger: Logger): (entry: LogEntry) => void {
  const saidAtMs = new Map<string, number>();
  return ({ namespace, level, log: { message, error, broker } }) => {
    if (level > logLevel.WARN) {
      logger.debug({ kafka: namespace }, message);
      return;
    }
    const key = `${namespace} ${message.replace(/\d+/g, '')}`;
    const nowMs = performance.now();
    const isRepeated = nowMs - (saidAtMs.get(key) ?? -Infinity) < SAME_LINE_AGAIN_AFTER_MS;
    logger[isRepeated ? 'debug' : 'warn']({ kafka: namespace, broker, reason: error }, message);
    if (isRepeated) return;
    if (saidAtMs.size >= MAX_REMEMBERED_LINES) saidAtMs.clear();
    saidAtMs.set(key, nowMs);
  };
}
