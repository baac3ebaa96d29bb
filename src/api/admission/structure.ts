import { setImmediate as nextTurn } from 'node:timers/promises';
import { LedgerError } from '../../shared/errors.ts';
import { STRUCTURE_LIMITS } from './limits.ts';

/** A body with fewer bytes than this cannot break a limit, so it is not scanned. */
const SCANNED_FROM_BYTES = STRUCTURE_LIMITS.depth;
/** So much is scanned before other requests have their turn: less than a millisecond of work. */
const SLICE_BYTES = 256 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const SEMICOLON = 0x3b;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

interface Scan {
  /**
   * Scans from where it stopped, at least up to `end`.
   * @throws LedgerError `validation-failed`
   */
  upTo(end: number): void;
}

/**
 * Refuses a JSON body that would cost far more to parse than its size, before it is parsed:
 * JSON.parse stops the event loop for seconds over 5 million arrays or 1 million distinct names.
 * @throws LedgerError `validation-failed`
 */
export async function refuseCostlyJson(body: Buffer): Promise<void> {
  if (body.length >= SCANNED_FROM_BYTES) await inSlices(body, new JsonScan(body));
}

/**
 * Refuses a table with more columns, cells or rows than any table here can have, before it is
 * parsed.
 * @throws LedgerError `validation-failed`
 */
export async function refuseCostlyCsv(body: Buffer): Promise<void> {
  await inSlices(body, new CsvScan(body));
}

async function inSlices(body: Buffer, scan: Scan): Promise<void> {
  for (let end = SLICE_BYTES; end < body.length; end += SLICE_BYTES) {
    scan.upTo(end);
    await nextTurn();
  }
  scan.upTo(body.length);
}

/**
 * Counts what JSON text holds. Of text that is not JSON it counts something, and JSON.parse refuses
 * it.
 */
class JsonScan implements Scan {
  readonly #body: Buffer;
  readonly #names = new DistinctNames();
  #at = 0;
  #depth = 0;
  #values = 0;
  #isInString = false;
  #hash = 0;

  constructor(body: Buffer) {
    this.#body = body;
  }

  upTo(end: number): void {
    const body = this.#body;
    while (this.#at < end) {
      if (this.#isInString) {
        this.#scanString(end);
        continue;
      }
      const byte = body[this.#at];
      this.#at += 1;
      if (byte === QUOTE) {
        this.#isInString = true;
        this.#hash = this.#names.seed;
      } else if (byte === COMMA) {
        this.#values += 1;
      } else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
        this.#values += 1;
        this.#depth += 1;
      } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) {
        this.#depth -= 1;
      } else if (byte === COLON) {
        this.#names.add(this.#hash);
      } else {
        continue;
      }
      this.#check();
    }
  }

  #scanString(end: number): void {
    const body = this.#body;
    let at = this.#at;
    let hash = this.#hash;
    while (at < end) {
      const byte = body[at] ?? QUOTE;
      at += 1;
      if (byte === QUOTE) {
        this.#isInString = false;
        break;
      }
      if (byte === BACKSLASH) at += 1;
      // FNV-1a: a multiplication for each byte.
      hash = Math.imul(hash ^ byte, 0x01000193);
    }
    this.#at = at;
    this.#hash = hash;
  }

  #check(): void {
    if (this.#depth > STRUCTURE_LIMITS.depth) {
      refuse(`must not nest deeper than ${STRUCTURE_LIMITS.depth} levels`);
    }
    if (this.#values > STRUCTURE_LIMITS.values) {
      refuse(`must not have more than ${STRUCTURE_LIMITS.values} values`);
    }
    if (this.#names.count > STRUCTURE_LIMITS.names) {
      refuse(`must not have more than ${STRUCTURE_LIMITS.names} different names`);
    }
  }
}

const NAME_BITS = 21;

/**
 * Counts different names by one bit each. Two names that share a bit count once, so it never counts
 * too many; the seed keeps clients from choosing names that do.
 */
class DistinctNames {
  readonly seed = Math.floor(Math.random() * 2 ** 32);
  count = 0;
  readonly #bits = new Uint32Array(2 ** (NAME_BITS - 5));

  add(hash: number): void {
    const bit = (hash ^ (hash >>> NAME_BITS)) & (2 ** NAME_BITS - 1);
    const mask = 1 << (bit & 31);
    const word = this.#bits[bit >>> 5] ?? 0;
    if ((word & mask) !== 0) return;
    this.#bits[bit >>> 5] = word | mask;
    this.count += 1;
  }
}

class CsvScan implements Scan {
  readonly #body: Buffer;
  #at = 0;
  #isQuoted = false;
  #columns = 1;
  #cells = 0;
  #lineBreaks = 0;

  constructor(body: Buffer) {
    this.#body = body;
  }

  upTo(end: number): void {
    const body = this.#body;
    for (; this.#at < end; this.#at += 1) {
      const byte = body[this.#at];
      // A quote within a quoted cell is doubled, so it ends the cell and begins it again.
      if (byte === QUOTE) this.#isQuoted = !this.#isQuoted;
      else if (this.#isQuoted) continue;
      else if (byte === COMMA || byte === SEMICOLON) this.#endCell();
      else if (byte === NEWLINE || byte === RETURN) this.#endLine();
    }
  }

  #endCell(): void {
    this.#columns += 1;
    this.#cells += 1;
    if (this.#columns > STRUCTURE_LIMITS.columns) {
      refuse(`must not have more than ${STRUCTURE_LIMITS.columns} columns`);
    }
    if (this.#cells > STRUCTURE_LIMITS.cells) {
      refuse(`must not have more than ${STRUCTURE_LIMITS.cells} cells`);
    }
  }

  #endLine(): void {
    this.#columns = 1;
    this.#lineBreaks += 1;
    if (this.#lineBreaks > STRUCTURE_LIMITS.lineBreaks) {
      refuse(`must not have more than ${STRUCTURE_LIMITS.lineBreaks} line breaks`);
    }
  }
}

function refuse(message: string): never {
  throw new LedgerError('validation-failed', `The body ${message}.`, {
    fields: [{ path: 'body', message }],
  });
}
