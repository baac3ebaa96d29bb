import kafkajs from 'kafkajs';
import { decompressLz4 } from './lz4.ts';
import { decompressSnappy } from './snappy.ts';
import { decompressZstd } from './zstd.ts';
import { errorMessage } from '../../shared/errors.ts';

// Imported as a whole, since Node finds only some of the names that kafkajs exports.
const { CompressionCodecs, CompressionTypes, KafkaJSNonRetriableError } = kafkajs;

/**
 * Registers the codecs that kafkajs lacks: it has gzip only, and drops a whole fetch for one batch
 * of another codec. A batch that cannot be decompressed still ends the session, and the error says
 * which codec it was.
 */
export function registerCodecs(): void {
  CompressionCodecs[CompressionTypes.Snappy] = () => reader('snappy', decompressSnappy);
  CompressionCodecs[CompressionTypes.LZ4] = () => reader('lz4', decompressLz4);
  CompressionCodecs[CompressionTypes.ZSTD] = () => reader('zstd', decompressZstd);
}

function reader(codec: string, decompress: (bytes: Buffer) => Buffer) {
  return {
    compress: () => Promise.reject(new Error(`nothing is compressed with ${codec} here`)),
    decompress: async (bytes: Buffer) => {
      try {
        return decompress(bytes);
      } catch (error) {
        const why = errorMessage(error);
        // It does not get better by asking again: so health says it at once.
        throw new KafkaJSNonRetriableError(
          `a batch compressed with ${codec} cannot be read: ${why}`,
        );
      }
    },
  };
}
