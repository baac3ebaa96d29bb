import type { EachBatchPayload, KafkaMessage } from 'kafkajs';
import { StoppedError, type MessageBatch } from '../source.ts';
import type { DeadLetters } from './dead-letters.ts';
import { Membership } from './membership.ts';

/** Recorded together, and then committed: so much is done again after a kill. */
const MAX_AT_ONCE = 1_000;

export interface DeliveryParts {
  readonly deadLetters: Pick<DeadLetters, 'send'>;
  /** Aborted when nothing more is to be begun. */
  readonly ending: AbortSignal;
  readonly deliver: (batch: MessageBatch) => void;
}

/**
 * Delivers what kafkajs fetched of a partition in batches, each after the one before was settled.
 * @throws what kafkajs threw, which kafkajs handles: it fetches again from the last offset that was
 *   resolved
 */
export async function deliverAll(
  payload: EachBatchPayload,
  { deadLetters, ending, deliver }: DeliveryParts,
): Promise<void> {
  const { topic, partition, messages } = payload.batch;
  const stopping = new AbortController();
  const stop = (): void => stopping.abort();
  ending.addEventListener('abort', stop);
  const membership = new Membership(() => payload.heartbeat(), stop);
  try {
    for (let start = 0; start < messages.length; start += MAX_AT_ONCE) {
      if (ending.aborted || !payload.isRunning() || payload.isStale()) return;
      membership.check();
      const together = messages.slice(start, start + MAX_AT_ONCE);
      const isSettled = await settled((end, fail) => {
        deliver({
          topic,
          partition,
          messages: together.map(messageOf),
          signal: stopping.signal,
          leave: () => end(false),
          async settle(rejected) {
            await deadLetters.send(rejected.map((one) => ({ topic, partition, ...one })));
            await commit(payload, together.at(-1) as KafkaMessage).catch((error: unknown) => {
              fail(error);
              throw new StoppedError('the offset was not committed', { cause: error });
            });
            end(true);
          },
        });
      });
      membership.check();
      if (!isSettled) return;
    }
  } finally {
    ending.removeEventListener('abort', stop);
    membership.end();
  }
}

function settled(
  begin: (end: (isSettled: boolean) => void, fail: (error: unknown) => void) => void,
): Promise<boolean> {
  return new Promise(begin);
}

function messageOf({
  key,
  value,
  headers = {},
  offset,
}: KafkaMessage): MessageBatch['messages'][0] {
  return { key, value, headers, offset };
}

/**
 * Commits by the payload's own function: the consumer's ignores a commit while it is stopping, and
 * what was stored while it drains would be delivered again. The last message takes with it what
 * follows in the batch and is no message: the markers of transactions have offsets, too.
 */
async function commit(
  payload: EachBatchPayload,
  { offset: lastOffset }: KafkaMessage,
): Promise<void> {
  const { batch } = payload;
  const { topic, partition } = batch;
  const isAll = lastOffset === batch.messages.at(-1)?.offset;
  const offset = String(BigInt(isAll ? batch.lastOffset() : lastOffset) + 1n);
  const topics = [{ topic, partitions: [{ partition, offset }] }];
  await payload.commitOffsetsIfNecessary({ topics });
  payload.resolveOffset(lastOffset);
}
