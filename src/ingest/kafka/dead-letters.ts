import { CompressionTypes, Partitioners, type Kafka, type Message, type Producer } from 'kafkajs';
import type { RejectedMessage } from '../source.ts';

/** A rejected message, and where it came from. */
export interface DeadLetter extends RejectedMessage {
  readonly topic: string;
  readonly partition: number;
}

export function deadLetterTopic(usageTopic: string): string {
  return `${usageTopic}.dead-letter`;
}

/** The size of one request, unless a single letter is larger: by default brokers take 1 MiB. */
const MAX_REQUEST_BYTES = 512 * 1024;
const MAX_HEADER_BYTES = 1_024;
const TIMEOUT_MS = 10_000;

/**
 * Sends messages that cannot be used to the dead-letter topic: key, value and headers as they came,
 * and more headers that say why and from where. Each is sent at least once; one that is sent again
 * is known by its topic, partition and offset.
 */
export class DeadLetters {
  readonly #producer: Producer;
  readonly #topic: string;

  constructor(kafka: Kafka, usageTopic: string) {
    this.#topic = deadLetterTopic(usageTopic);
    this.#producer = kafka.producer({
      createPartitioner: Partitioners.DefaultPartitioner,
      allowAutoTopicCreation: false,
    });
  }

  connect(): Promise<void> {
    return this.#producer.connect();
  }

  disconnect(): Promise<void> {
    return this.#producer.disconnect();
  }

  /** Resolves when the broker has stored them durably. */
  async send(letters: readonly DeadLetter[]): Promise<void> {
    let waiting: Message[] = [];
    let bytes = 0;
    for (const letter of letters) {
      const message = messageOf(letter);
      const size = sizeOf(message);
      if (waiting.length > 0 && bytes + size > MAX_REQUEST_BYTES) {
        await this.#send(waiting);
        waiting = [];
        bytes = 0;
      }
      waiting.push(message);
      bytes += size;
    }
    if (waiting.length > 0) await this.#send(waiting);
  }

  /** Sends them together; if that is too large for the broker, one by one, in a way it accepts. */
  async #send(messages: readonly Message[]): Promise<void> {
    const ways = messages.length === 1 ? [...PLAIN_WAYS, ...SHORTER_WAYS] : PLAIN_WAYS;
    let refusal: unknown;
    for (const { compression, shortened } of ways) {
      try {
        await this.#producer.send({
          topic: this.#topic,
          acks: -1,
          timeout: TIMEOUT_MS,
          compression,
          messages: messages.map(shortened),
        });
        return;
      } catch (error) {
        if (!isTooLarge(error)) throw error;
        refusal = error;
      }
    }
    if (messages.length === 1) throw refusal;
    for (const message of messages) await this.#send([message]);
  }
}

interface Way {
  readonly compression: CompressionTypes;
  readonly shortened: (message: Message) => Message;
}

const PLAIN_WAYS: readonly Way[] = [
  { compression: CompressionTypes.None, shortened: (message) => message },
  // The message came compressed, or only just fitted without the headers.
  { compression: CompressionTypes.GZIP, shortened: (message) => message },
];

/**
 * A letter without some of its parts still says where the message is; one that is never sent stalls
 * the partition. The key and the headers of the sender may exceed the limit, too.
 */
const SHORTER_WAYS: readonly Way[] = [
  {
    compression: CompressionTypes.GZIP,
    shortened: (message) => withLeftOut('value', { ...message, value: null }),
  },
  {
    compression: CompressionTypes.GZIP,
    shortened: (message) =>
      withLeftOut('value, headers', { ...message, value: null, headers: ownHeaders(message) }),
  },
  {
    compression: CompressionTypes.GZIP,
    shortened: (message) =>
      withLeftOut('value, headers, key', { value: null, headers: ownHeaders(message) }),
  },
];

function withLeftOut(leftOut: string, message: Message): Message {
  return { ...message, headers: { ...message.headers, 'fleetledger-left-out': leftOut } };
}

const OWN_HEADERS = new Set(
  ['reason', 'detail', 'topic', 'partition', 'offset'].map((name) => `fleetledger-${name}`),
);

function ownHeaders({ headers = {} }: Message): NonNullable<Message['headers']> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => OWN_HEADERS.has(name)));
}

function messageOf({ message, topic, partition, reason, detail }: DeadLetter): Message {
  return {
    key: message.key,
    value: message.value,
    headers: {
      ...message.headers,
      'fleetledger-reason': reason,
      'fleetledger-detail': detail.slice(0, MAX_HEADER_BYTES),
      'fleetledger-topic': topic,
      'fleetledger-partition': String(partition),
      'fleetledger-offset': message.offset,
    },
  };
}

function sizeOf({ key, value, headers = {} }: Message): number {
  const parts = [key, value, ...Object.keys(headers), ...Object.values(headers).flat()];
  return parts.reduce<number>((sum, part) => sum + (part ? Buffer.byteLength(part) : 0), 0);
}

const TOO_LARGE = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE']);

/** Whether the broker refused the size; kafkajs wraps the broker's answer. */
function isTooLarge(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('type' in error && TOO_LARGE.has(String(error.type))) return true;
  return error.cause !== error && isTooLarge(error.cause);
}
