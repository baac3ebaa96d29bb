/** What a batch may come to: it is held whole, and a few kilobytes can stand for gigabytes. */
export const MAX_DECOMPRESSED_BYTES = 64 * 1024 * 1024;

const FIRST_BYTES = 64 * 1024;

/** The bytes of a compressed batch that are known so far, and never more than the limit. */
export class Decompressed {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(bytes: Uint8Array): void {
    this.#makeRoom(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /**
   * Appends `count` bytes beginning `distance` before the end; some may be bytes that it appended.
   */
  repeat(distance: number, count: number): void {
    if (distance < 1 || distance > this.#length) throw new Error('it refers to what is not there');
    this.#makeRoom(count);
    const from = this.#length - distance;
    const end = this.#length + count;
    // What is there is doubled until it is enough.
    while (this.#length < end) {
      const known = Math.min(this.#length - from, end - this.#length);
      this.#bytes.copyWithin(this.#length, from, from + known);
      this.#length += known;
    }
  }

  toBuffer(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #makeRoom(count: number): void {
    const needed = this.#length + count;
    refuseMoreThanLimit(needed);
    if (needed <= this.#bytes.length) return;
    const size = Math.min(MAX_DECOMPRESSED_BYTES, Math.max(needed, this.#bytes.length * 2));
    const larger = Buffer.allocUnsafe(size);
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

export function refuseMoreThanLimit(count: number | bigint): void {
  if (count > MAX_DECOMPRESSED_BYTES) {
    throw new Error(`it comes to more than ${MAX_DECOMPRESSED_BYTES} bytes`);
  }
}

/** `count` bytes from `at`, or an error where there are fewer. */
export function slice(bytes: Buffer, at: number, count: number): Buffer {
  if (at + count > bytes.length) throw new Error('it is cut short');
  return bytes.subarray(at, at + count);
}
