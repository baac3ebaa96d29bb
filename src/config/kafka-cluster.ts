import { readFileSync } from 'node:fs';
import type { KafkaCluster } from '../ingest/kafka/client.ts';
import { errorMessage } from '../shared/errors.ts';

export const SASL_MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512'] as const;

interface KafkaVariables {
  readonly KAFKA_BROKERS?: readonly string[] | undefined;
  readonly KAFKA_SSL?: 'true' | 'false' | undefined;
  readonly KAFKA_SSL_CA_FILE?: string | undefined;
  readonly KAFKA_SSL_CERT_FILE?: string | undefined;
  readonly KAFKA_SSL_KEY_FILE?: string | undefined;
  readonly KAFKA_SASL_MECHANISM?: (typeof SASL_MECHANISMS)[number] | undefined;
  readonly KAFKA_SASL_USERNAME?: string | undefined;
  readonly KAFKA_SASL_PASSWORD?: string | undefined;
}

/** Throws an error that tells the operator of a mistake. */
type Refuse = (mistake: string) => never;

/** The cluster that the variables describe; undefined without brokers. */
export function kafkaCluster(variables: KafkaVariables, refuse: Refuse): KafkaCluster | undefined {
  const { KAFKA_BROKERS: brokers } = variables;
  const [tls, sasl] = [tlsIn(variables, refuse), saslIn(variables, refuse)];
  return brokers && { brokers, tls, sasl };
}

/** TLS is on when it is asked for, and when a file for it is named. */
function tlsIn(variables: KafkaVariables, refuse: Refuse): KafkaCluster['tls'] {
  const names = ['KAFKA_SSL_CA_FILE', 'KAFKA_SSL_CERT_FILE', 'KAFKA_SSL_KEY_FILE'] as const;
  const named = names.find((name) => variables[name] !== undefined);
  if (variables.KAFKA_SSL === 'false' && named !== undefined) {
    refuse(`KAFKA_SSL: is false, and ${named} is set: remove one of them`);
  }
  if (variables.KAFKA_SSL !== 'true' && named === undefined) return undefined;
  const [ca, cert, key] = names.map((name) => textIn(variables, name, refuse));
  if (cert === undefined && key === undefined) return { ca, identity: undefined };
  if (cert !== undefined && key !== undefined) return { ca, identity: { cert, key } };
  return refuse(
    'KAFKA_SSL_CERT_FILE, KAFKA_SSL_KEY_FILE: a certificate needs its key: set both, or none',
  );
}

function textIn(
  variables: KafkaVariables,
  name: 'KAFKA_SSL_CA_FILE' | 'KAFKA_SSL_CERT_FILE' | 'KAFKA_SSL_KEY_FILE',
  refuse: Refuse,
): string | undefined {
  const file = variables[name];
  try {
    return file && readFileSync(file, 'utf8');
  } catch (error) {
    return refuse(`${name}: it cannot be read (${errorMessage(error)})`);
  }
}

function saslIn(
  {
    KAFKA_SASL_MECHANISM: mechanism,
    KAFKA_SASL_USERNAME: username,
    KAFKA_SASL_PASSWORD: password,
  }: KafkaVariables,
  refuse: Refuse,
): KafkaCluster['sasl'] {
  if (mechanism === undefined && username === undefined && password === undefined) return undefined;
  if (mechanism !== undefined && username !== undefined && password !== undefined) {
    return { mechanism, username, password };
  }
  return refuse(
    'KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD: set all three, or none',
  );
}
