import type { ServerResponse } from 'node:http';
import { LedgerError } from '../../shared/errors.ts';
import { IN_FLIGHT_LIMITS } from './limits.ts';

/** Counts the bytes that requests hold in memory, over all and for each key. */
export class BytesInFlight {
  #total = 0;
  readonly #byKey = new Map<string, number>();

  /** @throws LedgerError `overloaded`: then nothing is counted */
  add(keyId: string, bytes: number): void {
    const ofKey = (this.#byKey.get(keyId) ?? 0) + bytes;
    if (ofKey > IN_FLIGHT_LIMITS.keyBytes || this.#total + bytes > IN_FLIGHT_LIMITS.bytes) {
      throw new LedgerError(
        'overloaded',
        'Too many large bodies and answers are in memory: send the request again in a moment.',
      );
    }
    this.#byKey.set(keyId, ofKey);
    this.#total += bytes;
  }

  remove(keyId: string, bytes: number): void {
    const left = (this.#byKey.get(keyId) ?? 0) - bytes;
    if (left > 0) this.#byKey.set(keyId, left);
    else this.#byKey.delete(keyId);
    this.#total -= bytes;
  }
}

/** One for the process, because what it shares out is its memory. */
const inFlight = new BytesInFlight();

/**
 * Counts the body of a request while it is read, or its answer before it is sent, until the
 * response closes. The result is told the size so far. Small ones are not counted: the number of
 * connections limits those.
 * @throws LedgerError `overloaded` from what it gives
 */
export function countedUntilClosed(
  keyId: string,
  response: Pick<ServerResponse, 'once' | 'destroyed'>,
): (size: number) => void {
  let counted = 0;
  return (size) => {
    if (size <= IN_FLIGHT_LIMITS.uncountedBytes || response.destroyed) return;
    inFlight.add(keyId, size - counted);
    if (counted === 0) response.once('close', () => inFlight.remove(keyId, counted));
    counted = size;
  };
}
