import { streamName, type StreamName } from '../../src/event-store/stream-name.ts';

/** The categories of streams that tests have of their own. */
export const TEST_CATEGORIES = ['meter', 'notes'];

/**
 * `streamName` for categories that no domain has: tests have some of their own, and invalid ones.
 */
export const testStreamName = streamName as (
  category: string,
  projectId: string,
  ...id: readonly [string, ...string[]]
) => StreamName;
