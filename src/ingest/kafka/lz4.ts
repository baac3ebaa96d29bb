import { Decompressed, slice } from './decompressed.ts';

const MAGIC = 0x184d2204;
const VERSION_MASK = 0xc0;
const VERSION = 0x40;
const HAS_BLOCK_CHECKSUMS = 0x10;
const HAS_CONTENT_SIZE = 0x08;
const HAS_DICTIONARY = 0x01;
const IS_STORED = 0x80000000;
const MORE_FOLLOWS = 255;
const LONG = 15;
const MIN_MATCH = 4;

/**
 * Decompresses one frame of LZ4, also with blocks that refer to each other. Checksums are ignored,
 * as kafkajs ignores its own.
 */
export function decompressLz4(frame: Buffer): Buffer {
  const header = slice(frame, 0, 7);
  if (header.readUInt32LE(0) !== MAGIC) throw new Error('it is no frame of lz4');
  const flags = header.readUInt8(4);
  if ((flags & VERSION_MASK) !== VERSION) throw new Error('its version of lz4 is unknown');
  if ((flags & HAS_DICTIONARY) !== 0) throw new Error('it needs a dictionary');
  const blockChecksum = (flags & HAS_BLOCK_CHECKSUMS) === 0 ? 0 : 4;
  let at = 7 + ((flags & HAS_CONTENT_SIZE) === 0 ? 0 : 8);
  const output = new Decompressed();
  for (;;) {
    const size = slice(frame, at, 4).readUInt32LE(0);
    at += 4;
    if (size === 0) return output.toBuffer();
    const block = slice(frame, at, size % IS_STORED);
    if (size >= IS_STORED) output.append(block);
    else readBlock(block, output);
    at += block.length + blockChecksum;
  }
}

/** Literals and a match, again and again; the last has literals only. */
function readBlock(block: Buffer, output: Decompressed): void {
  let at = 0;
  const lengthFrom = (nibble: number): number => {
    if (nibble < LONG) return nibble;
    let length = nibble;
    let more: number;
    do {
      more = slice(block, at, 1).readUInt8(0);
      at += 1;
      length += more;
    } while (more === MORE_FOLLOWS);
    return length;
  };
  for (;;) {
    const token = slice(block, at, 1).readUInt8(0);
    at += 1;
    const literals = lengthFrom(token >> 4);
    output.append(slice(block, at, literals));
    at += literals;
    if (at === block.length) return;
    const distance = slice(block, at, 2).readUInt16LE(0);
    at += 2;
    output.repeat(distance, MIN_MATCH + lengthFrom(token & LONG));
  }
}
