import { Decompress } from 'fzstd';
import {
  Decompressed,
  MAX_DECOMPRESSED_BYTES,
  refuseMoreThanLimit,
  slice,
} from './decompressed.ts';

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a5;
const IS_SINGLE_SEGMENT = 0x20;
const HAS_CHECKSUM = 0x04;
const MAX_BLOCK_BYTES = 128 * 1024;
/**
 * The limit of bytes that windows move: blocks of one byte would otherwise occupy the process for
 * long.
 */
const MAX_MOVED_BYTES = 16 * 1024 ** 3;

/** Decompresses the frames of Zstandard. Checksums are ignored, as kafkajs ignores its own. */
export function decompressZstd(bytes: Buffer): Buffer {
  const input = Buffer.from(bytes);
  limitWindows(input);
  const output = new Decompressed();
  new Decompress((chunk) => output.append(chunk)).push(input, true);
  return output.toBuffer();
}

/**
 * Limits the windows of the frames: fzstd allocates what a frame asks for, up to 2 GiB. No window
 * is larger than what the blocks of the frame can hold.
 */
function limitWindows(input: Buffer): void {
  let at = 0;
  let moved = 0;
  do {
    const magic = slice(input, at, 4).readUInt32LE(0);
    if (magic >>> 4 === SKIPPABLE) {
      const size = slice(input, at + 4, 4).readUInt32LE(0);
      at += 8 + slice(input, at + 8, size).length;
      continue;
    }
    if (magic !== MAGIC) throw new Error('it is no frame of zstd');
    const flags = slice(input, at + 4, 1).readUInt8(0);
    if ((flags & 3) !== 0) throw new Error('it needs a dictionary');
    const isSingle = (flags & IS_SINGLE_SEGMENT) !== 0;
    const sizeBytes = flags >> 6 === 0 ? Number(isSingle) : 1 << (flags >> 6);
    const windowAt = at + 5;
    const sizeAt = windowAt + (isSingle ? 0 : 1);
    const contentSize = readContentSize(slice(input, sizeAt, sizeBytes));
    refuseMoreThanLimit(contentSize);
    const blocks = measureBlocks(input, sizeAt + sizeBytes);
    let window = Number(contentSize);
    if (!isSingle) {
      const descriptor = Math.min(input.readUInt8(windowAt), windowDescriptor(blocks.bytes));
      input.writeUInt8(descriptor, windowAt);
      window = windowBytes(descriptor);
    }
    moved += blocks.count * window;
    if (moved > MAX_MOVED_BYTES) throw new Error('its blocks are too many for their size');
    at = blocks.end + ((flags & HAS_CHECKSUM) === 0 ? 0 : 4);
  } while (at < input.length);
}

/** How many, what they come to at most, and where they end. */
function measureBlocks(input: Buffer, start: number) {
  let at = start;
  let bytes = 0;
  for (let count = 1; ; count += 1) {
    const header = slice(input, at, 3).readUIntLE(0, 3);
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (size > MAX_BLOCK_BYTES) throw new Error('one of its blocks is too large');
    at += 3 + slice(input, at + 3, type === 1 ? 1 : size).length;
    bytes += type === 2 ? MAX_BLOCK_BYTES : size;
    if ((header & 1) === 1) return { count, bytes, end: at };
  }
}

function readContentSize(bytes: Buffer): bigint {
  if (bytes.length === 8) return bytes.readBigUInt64LE(0);
  if (bytes.length === 0) return 0n;
  return BigInt(bytes.readUIntLE(0, bytes.length) + (bytes.length === 2 ? 256 : 0));
}

/**
 * The descriptor of the smallest window that holds so many bytes and a block; never more than the
 * limit of what is kept.
 */
function windowDescriptor(bytes: number): number {
  const needed = Math.max(MAX_BLOCK_BYTES, Math.min(bytes, MAX_DECOMPRESSED_BYTES));
  return Math.ceil(Math.log2(needed) - 10) * 8;
}

function windowBytes(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}
