import { vi } from 'vitest';
import { BEGINNING, type EventStore, type RecordedEvent } from '../../src/event-store/port.ts';
import type { UsageIngest } from '../../src/ingest/usage-ingest.ts';

export const EVENTUALLY = { timeout: 60_000, interval: 50 };

/** How many messages a process has dealt with, whatever became of them. */
export function takenBy({ counts }: UsageIngest): number {
  const letters = Object.values(counts.deadLetters).reduce((sum, count) => sum + count, 0);
  return counts.recorded + counts.duplicates + letters;
}

export async function untilTaken(count: number, ...ingests: UsageIngest[]): Promise<void> {
  await vi.waitFor(() => {
    const taken = ingests.reduce((sum, ingest) => sum + takenBy(ingest), 0);
    if (taken < count) throw new Error(`${taken} of ${count} are taken`);
  }, EVENTUALLY);
}

export async function usageEvents(
  store: EventStore,
  type: 'UsageRecorded' | 'UsageRejected',
): Promise<RecordedEvent[]> {
  const found: RecordedEvent[] = [];
  for await (const { events } of store.readAll({ after: BEGINNING, types: [type] })) {
    found.push(...events);
  }
  return found;
}
