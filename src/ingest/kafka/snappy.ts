import { Decompressed, refuseMoreThanLimit, slice } from './decompressed.ts';

/**
 * Kafka's Java client wraps blocks in the framing of snappy-java (xerial); other clients send one
 * block without it.
 */
const FRAMED = Buffer.from('\x82SNAPPY\0', 'latin1');
const FRAME_HEADER_BYTES = FRAMED.length + 8;

export function decompressSnappy(bytes: Buffer): Buffer {
  const output = new Decompressed();
  if (!bytes.subarray(0, FRAMED.length).equals(FRAMED)) {
    readBlock(bytes, output);
    return output.toBuffer();
  }
  let at = slice(bytes, 0, FRAME_HEADER_BYTES).length;
  do {
    const size = slice(bytes, at, 4).readUInt32BE(0);
    at += 4;
    // Streams that were put one after another.
    if (bytes.subarray(at - 4, at - 4 + FRAMED.length).equals(FRAMED)) {
      at += slice(bytes, at - 4, FRAME_HEADER_BYTES).length - 4;
      continue;
    }
    readBlock(slice(bytes, at, size), output);
    at += size;
  } while (at < bytes.length);
  return output.toBuffer();
}

function readBlock(block: Buffer, output: Decompressed): void {
  const [length, start] = readLength(block);
  const end = output.length + length;
  refuseMoreThanLimit(end);
  let at = start;
  while (at < block.length) {
    const tag = block.readUInt8(at);
    at += 1;
    const upper = tag >> 2;
    switch (tag & 3) {
      case 0: {
        // A length from 60 on stands in the bytes after it.
        const extra = Math.max(0, upper - 59);
        const literals = 1 + (extra === 0 ? upper : slice(block, at, extra).readUIntLE(0, extra));
        at += extra;
        output.append(slice(block, at, literals));
        at += literals;
        break;
      }
      case 1:
        output.repeat((tag >> 5) * 256 + slice(block, at, 1).readUInt8(0), 4 + (upper & 7));
        at += 1;
        break;
      default: {
        const width = (tag & 3) === 2 ? 2 : 4;
        output.repeat(slice(block, at, width).readUIntLE(0, width), 1 + upper);
        at += width;
      }
    }
    if (output.length > end) throw new Error('it comes to more than it says');
  }
  if (output.length !== end) throw new Error('it is cut short');
}

/** 7 bits a byte, the lowest first. */
function readLength(block: Buffer): [length: number, at: number] {
  let length = 0;
  for (let at = 0; at < 5; at += 1) {
    const byte = slice(block, at, 1).readUInt8(0);
    length += (byte & 0x7f) * 2 ** (7 * at);
    if (byte < 0x80) return [length, at + 1];
  }
  throw new Error('it is no block of snappy');
}
