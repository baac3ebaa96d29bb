import { describe } from 'vitest';
import { prepareWriteProcesses } from '../commands/core/write-process.ts';
import { testIngestContract } from './contract.ts';
import { InMemorySource, InMemoryTopic } from './in-memory-source.ts';

let topics = 0;

describe('the ingest of usage from a source in memory', () => {
  testIngestContract({
    startProcess: prepareWriteProcesses(),
    createTopic(partitions) {
      topics += 1;
      const topic = new InMemoryTopic(`usage-${topics}`, partitions);
      return Promise.resolve({
        name: topic.name,
        send: (messages) => {
          topic.send(
            messages.map(({ key = null, value, headers = {} }) => ({
              key: key === null ? null : Buffer.from(key),
              value: typeof value === 'string' ? Buffer.from(value) : value,
              headers,
            })),
          );
          return Promise.resolve();
        },
        source: () => new InMemorySource(topic),
        committed: () => Promise.resolve(topic.committed),
        deadLetters: () =>
          Promise.resolve(
            topic.deadLetters.map(({ message, reason }) => ({
              value: message.value?.toString() ?? null,
              reason,
              offset: message.offset,
            })),
          ),
      });
    },
  });
});
