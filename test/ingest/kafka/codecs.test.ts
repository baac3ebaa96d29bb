import kafkajs from 'kafkajs';
import { describe, expect, test } from 'vitest';
import { registerCodecs } from '../../../src/ingest/kafka/codecs.ts';
import { decompressLz4 } from '../../../src/ingest/kafka/lz4.ts';
import { decompressSnappy } from '../../../src/ingest/kafka/snappy.ts';
import { decompressZstd } from '../../../src/ingest/kafka/zstd.ts';

const { CompressionCodecs, CompressionTypes } = kafkajs;

// Six records, as the Java client 4.1.1 puts them into a batch: what follows the header of the
// batch.
const RECORDS =
  'pgEAAAABmAF7InNpbS1jYXJkLWlkIjogIjg5NDQwMDAwIiwgImJ5dGVzLXVzZWQiOiAwLCAiZGF0ZSI6ICIyMDIyLTAyLTE4VDAwOjAwOjAwWiJ9AKwBAAICAZ4BeyJzaW0tY2FyZC1pZCI6ICI4OTQ0MDAwMSIsICJieXRlcy11c2VkIjogMTAyNCwgImRhdGUiOiAiMjAyMi0wMi0xOFQwMDowMDowMFoifQCsAQAEBAGeAXsic2ltLWNhcmQtaWQiOiAiODk0NDAwMDIiLCAiYnl0ZXMtdXNlZCI6IDIwNDgsICJkYXRlIjogIjIwMjItMDItMThUMDA6MDA6MDBaIn0ArAEABgYBngF7InNpbS1jYXJkLWlkIjogIjg5NDQwMDAzIiwgImJ5dGVzLXVzZWQiOiAzMDcyLCAiZGF0ZSI6ICIyMDIyLTAyLTE4VDAwOjAwOjAwWiJ9AKwBAAgIAZ4BeyJzaW0tY2FyZC1pZCI6ICI4OTQ0MDAwNCIsICJieXRlcy11c2VkIjogNDA5NiwgImRhdGUiOiAiMjAyMi0wMi0xOFQwMDowMDowMFoifQCsAQAKCgGeAXsic2ltLWNhcmQtaWQiOiAiODk0NDAwMDUiLCAiYnl0ZXMtdXNlZCI6IDUxMjAsICJkYXRlIjogIjIwMjItMDItMThUMDA6MDA6MDBaIn0A';
const BATCHES = [
  {
    name: 'zstd',
    type: CompressionTypes.ZSTD,
    payload:
      'KLUv/QBYnAQAggcbIIC5ORyNUWYRbb4fpI4bKKwm41R+NGnypcLc4syaqe0dV/c8DAOAvrssGrjjKMrbqybJ6p1rLARR66EWHsBf8FzTN9WrGbScomjWnEFHORFtyilBMGv8/7vQM4OOUouHqNAM0rRiMZZSajkCEADAITBfEGLgITBfEGLgITBfEGLgITBfCLEtPATzxcI64+XOAQAA',
  },
  {
    name: 'zstd level 22, with a window of 128 MiB',
    type: CompressionTypes.ZSTD,
    payload:
      'KLUv/QCIdAQAooYYHYBtDkwzlNkLhzsXBx9pEloI8NgoJ4cJsrkAR0ICb4kgBJEsn3MYWvlxCAKd7w6C2ZdygwDwYPcydpi/oTL2Y/fbVk+9vVa8trogLgz+nAvlguEqxUo9UZykyxjU4HsPcgEUIHDDAncOmW+IfWi+Q+yh8w2xD833IbZ9SPPFdj31FKpF9HB18AWyEwEAAA==',
  },
  {
    name: 'zstd in one segment',
    type: CompressionTypes.ZSTD,
    payload:
      'KLUv/WANAZ0EAALHGSCASR0cjVFmEW3fZfi7CxRWk7nZApkk8kkHZQO0LDtEymf2PAwDgN69LBy44yhK6zMnSfMZaySCYD5woYPoFzS2/GU+v0pyupo/CrHUqxIEXY3+fzfUdEXqpnUHqbCGiVJFMhIR0xESAMAhMF8QYuAhMF8QYuAhMF8QYuAhMF8IsS08BPPFwnq6U0gZd1uzDA==',
  },
  {
    name: 'lz4',
    type: CompressionTypes.LZ4,
    payload:
      'BCJNGGBAgrYAAADwH6YBAAAAAZgBeyJzaW0tY2FyZC1pZCI6ICI4OTQ0MDAwMCIsICJieXRlcy11c2UaAIAwLCAiZGF0ZSUA4TIwMjItMDItMThUMDA6AwC/WiJ9AKwBAAICAZ5VAAYdMVUATzEwMjRYABIvBARYAAgdMlgATzIwNDhYABIvBgZYAAgdM1gATzMwNzJYABIvCAhYAAgdNFgATzQwOTZYABIvCgpYAAgdNVgAPzUxMrgBC1AwWiJ9AAAAAAA=',
  },
  {
    name: 'snappy in the framing of its Java library',
    type: CompressionTypes.Snappy,
    payload:
      'glNOQVBQWQAAAAABAAAAAQAAAL2NBPBMpgEAAAABmAF7InNpbS1jYXJkLWlkIjogIjg5NDQwMDAwIiwgImJ5dGVzLXVzZWQiOiAwLCAiZGF0ZSI6ICIyMDIyLTAyLTE4VDAwOjABAyhaIn0ArAEAAgIBnmJVAAAxQlUADDEwMjSSWAAEBARqWAAAMkJYAAwyMDQ4klgABAYGalgACDMiLDoFAQwzMDcyklgABAgIalgAADRCWAAMNDA5NpJYAAQKCmpYAAA1QlgADDUxMjCGWAA=',
  },
  {
    name: 'snappy as it is',
    type: CompressionTypes.Snappy,
    payload:
      'jQTwTKYBAAAAAZgBeyJzaW0tY2FyZC1pZCI6ICI4OTQ0MDAwMCIsICJieXRlcy11c2VkIjogMCwgImRhdGUiOiAiMjAyMi0wMi0xOFQwMDowAQMoWiJ9AKwBAAICAZ5iVQAAMUJVAAwxMDI0klgABAQEalgAADJCWAAMMjA0OJJYAAQGBmpYAAgzIiw6BQEMMzA3MpJYAAQICGpYAAA0QlgADDQwOTaSWAAECgpqWAAANUJYAAw1MTIwhlgA',
  },
];

registerCodecs();

const decompress = async (type: number, bytes: Buffer): Promise<Buffer> =>
  CompressionCodecs[type as keyof typeof CompressionCodecs]().decompress(bytes);

describe.each(BATCHES)('$name', ({ type, payload }) => {
  const batch = Buffer.from(payload, 'base64');

  test('is read', async () => {
    const records = await decompress(type, batch);
    expect(records.toString('base64')).toBe(RECORDS);
    expect(records.toString()).toContain('"bytes-used": 5120');
  });

  test('is refused, wherever it is cut short', async () => {
    for (let length = 0; length < batch.length; length += 1) {
      await expect(decompress(type, batch.subarray(0, length)), `${length}`).rejects.toThrow(
        /^a batch compressed with (zstd|lz4|snappy) cannot be read: /,
      );
    }
  });

  test('is read or refused, whatever becomes of its bytes', async () => {
    for (let at = 0; at < batch.length; at += 1) {
      const damaged = Buffer.from(batch);
      damaged[at] = (damaged[at] ?? 0) ^ (1 + ((at * 37) % 255));
      await decompress(type, damaged).catch((error: unknown) => {
        expect(String(error)).toContain('cannot be read');
      });
    }
  });

  test('is nothing that is written here', async () => {
    const codec = CompressionCodecs[type as keyof typeof CompressionCodecs]();
    await expect(codec.compress({ buffer: Buffer.from('a') })).rejects.toThrow(/nothing is compr/);
  });
});

test('what is no such thing at all is refused', async () => {
  for (const { type } of BATCHES) {
    for (const garbage of [Buffer.alloc(64, 0xff), Buffer.from('{"sim-card-id": "89440001"}')]) {
      await expect(decompress(type, garbage)).rejects.toThrow('cannot be read');
    }
  }
});

describe('a bomb', () => {
  const REFUSED = 'it comes to more than 67108864 bytes';
  const bytesAbove = (): number => process.memoryUsage().arrayBuffers;

  test('of snappy is refused by the size that it states', () => {
    const statesGibibyte = Buffer.from([0x80, 0x80, 0x80, 0x80, 0x04, 0x00, 0x61]);
    const before = bytesAbove();
    expect(() => decompressSnappy(statesGibibyte)).toThrow(REFUSED);
    expect(bytesAbove() - before).toBeLessThan(1_000_000);
  });

  test('of lz4 is refused when it comes to more than is kept', () => {
    // One literal, and a match of 255 bytes for each byte of its length.
    const block = Buffer.alloc(300_000, 0xff);
    block.set([0x1f, 0x61, 0x01, 0x00]);
    block[block.length - 1] = 0;
    const header = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73, 0, 0, 0, 0]);
    header.writeUInt32LE(block.length, 7);
    expect(() => decompressLz4(Buffer.concat([header, block, Buffer.alloc(4)]))).toThrow(REFUSED);
  });

  const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
  /** 128 KiB of one byte. */
  const run = (isLast: boolean): number[] => [0x02 + Number(isLast), 0x00, 0x10, 0x61];

  test('of zstd is refused when it comes to more than is kept', () => {
    const runs = Array.from({ length: 513 }, (_, index) => run(index === 512)).flat();
    expect(() => decompressZstd(Buffer.from([...MAGIC, 0x00, 0x58, ...runs]))).toThrow(REFUSED);
    expect(decompressZstd(Buffer.from([...MAGIC, 0x00, 0x58, ...run(true)]))).toHaveLength(131_072);
  });

  test('of zstd is refused by the size that it states', () => {
    const gibibyte = [0, 0, 0, 0x40];
    const frame = Buffer.from([...MAGIC, 0xa0, ...gibibyte, ...run(true)]);
    expect(() => decompressZstd(frame)).toThrow(REFUSED);
  });

  test('of zstd gets no window that its blocks do not need', () => {
    const before = bytesAbove();
    const asksForGibibyte = Buffer.from([...MAGIC, 0x00, 20 << 3, ...run(true)]);
    expect(decompressZstd(asksForGibibyte)).toHaveLength(131_072);
    expect(bytesAbove() - before).toBeLessThan(10_000_000);
  });

  test('of zstd is refused for more blocks than are worth their size', () => {
    const blocks = Array.from({ length: 100_000 }, () => [0x0a, 0x00, 0x00, 0x61]).flat();
    const large = Array.from({ length: 100 }, () => run(false)).flat();
    const frame = Buffer.from([...MAGIC, 0x00, 0x88, ...large, ...blocks, ...run(true)]);
    expect(() => decompressZstd(frame)).toThrow('its blocks are too many for their size');
  });
});
