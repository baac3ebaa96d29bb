import { Kafka, logLevel, type KafkaConfig, type LogEntry, type SASLOptions } from 'kafkajs';
import type { Logger } from '../../shared/logger.ts';
import { registerCodecs } from './codecs.ts';

/** How to reach a Kafka cluster. */
export interface KafkaCluster {
  readonly brokers: readonly string[];
  /** Undefined: connections are not encrypted. */
  readonly tls: KafkaTls | undefined;
  /** Undefined: the brokers ask for no credentials. */
  readonly sasl: KafkaSasl | undefined;
}

/** PEM texts. */
interface KafkaTls {
  /** Undefined: the certificate authorities that Node trusts. */
  readonly ca: string | undefined;
  /** The client's own certificate, for brokers that ask for one. */
  readonly identity: { readonly cert: string; readonly key: string } | undefined;
}

interface KafkaSasl {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
  readonly username: string;
  readonly password: string;
}

const SAME_LINE_AGAIN_AFTER_MS = 10_000;
const MAX_REMEMBERED_LINES = 100;

/**
 * The client of a cluster. It gives up early on what fails: its user then begins again with a new
 * one, which asks the brokers of the settings again, and not those that the old one has heard of.
 */
export function kafkaClient(cluster: KafkaCluster, logger: Logger): Kafka {
  registerCodecs();
  return new Kafka({
    ...connectionTo(cluster),
    clientId: 'fleetledger',
    connectionTimeout: 3_000,
    requestTimeout: 15_000,
    retry: {
      retries: 3,
      initialRetryTime: 200,
      maxRetryTime: 1_000,
      factor: 0.2,
      multiplier: 2,
      // A restart would use the brokers that it knows, however long they are gone.
      restartOnFailure: () => Promise.resolve(false),
    },
    logLevel: logLevel.INFO,
    logCreator: () => toLogger(logger),
  });
}

/** The addresses and credentials, as kafkajs takes them. */
export function connectionTo({
  brokers,
  tls,
  sasl,
}: KafkaCluster): Pick<KafkaConfig, 'brokers' | 'ssl' | 'sasl'> {
  return {
    brokers: [...brokers],
    ...(tls !== undefined && {
      ssl: { ...(tls.ca !== undefined && { ca: [tls.ca] }), ...tls.identity },
    }),
    // The types of kafkajs tell the mechanisms apart, although all take the same members.
    ...(sasl !== undefined && { sasl: { ...sasl } as SASLOptions }),
  };
}

/**
 * kafkajs reports an unavailable broker as an error, many times a second. The fault is transient,
 * and one line in a while says as much.
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
