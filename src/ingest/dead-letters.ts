import {
  CompressionTypes,
  Partitioners,
  type Kafka,
  type KafkaMessage,
  type Message,
  type Producer,
} from 'kafkajs';
import type { RejectionReason } from '../events/usage.ts';

/** A message that was not taken, and why. */
export interface DeadLetter {
  readonly message: KafkaMessage;
  readonly topic: string;
  readonly partition: number;
  readonly reason: RejectionReason;
  readonly detail: string;
}

export function deadLetterTopic(usageTopic: string): string {
  return `${usageTopic}.dead-letter`;
}

/** Of one request, unless a single letter is more: brokers take 1 MiB, if they are not told otherwise. */
const MAX_REQUEST_BYTES = 512 * 1024;
const MAX_HEADER_BYTES = 1_024;
const TIMEOUT_MS = 10_000;

/**
 * Passes messages on that cannot be used: key, value and headers as they came, and more headers that say why and
 * from where. At least once: a letter that is sent again is known by its topic, partition and offset.
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

  /** Settles when the broker has them durably. */
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

  async #send(messages: Message[]): Promise<void> {
    const ways: { readonly messages: Message[]; readonly compression: CompressionTypes }[] = [
      { messages, compression: CompressionTypes.None },
      // It came compressed, or just fitted without the headers.
      { messages, compression: CompressionTypes.GZIP },
      // A letter without its value says where that is; one that is never sent stalls the partition.
      { messages: messages.map(withoutValue), compression: CompressionTypes.GZIP },
    ];
    for (const [index, way] of ways.entries()) {
      try {
        await this.#producer.send({
          topic: this.#topic,
          acks: -1,
          timeout: TIMEOUT_MS,
          ...way,
        });
        return;
      } catch (error) {
        if (!isTooLarge(error) || index === ways.length - 1) throw error;
      }
    }
  }
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

function withoutValue(message: Message): Message {
  return {
    ...message,
    value: null,
    headers: { ...message.headers, 'fleetledger-left-out': 'value' },
  };
}

function sizeOf({ key, value, headers = {} }: Message): number {
  const parts = [key, value, ...Object.values(headers).flat()];
  return parts.reduce<number>((sum, part) => sum + (part ? Buffer.byteLength(part) : 0), 0);
}

/** kafkajs wraps what the broker answers. */
function isTooLarge(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('type' in error && error.type === 'MESSAGE_TOO_LARGE') return true;
  return error.cause !== error && isTooLarge(error.cause);
}
