import pLimit from 'p-limit';
import { LedgerError } from '../../shared/errors.ts';
import { HEAVY_BODY_BYTES, MAX_WAITING_HEAVY_BODIES } from './limits.ts';

/** One for the process, because what it shares out is the event loop. */
const oneAtATime = pLimit(1);

/**
 * Parses a body. Small ones are parsed at once, large ones one after another, so that together they
 * stop the event loop and fill the memory no longer than one does.
 * @throws LedgerError `overloaded`
 */
export async function parsedInTurn<Parsed>(
  body: Buffer,
  parse: () => Promise<Parsed>,
): Promise<Parsed> {
  if (body.length <= HEAVY_BODY_BYTES) return await parse();
  if (oneAtATime.pendingCount >= MAX_WAITING_HEAVY_BODIES) {
    throw new LedgerError(
      'overloaded',
      'Too many large bodies are waiting: send the request again in a moment.',
    );
  }
  return await oneAtATime(parse);
}
