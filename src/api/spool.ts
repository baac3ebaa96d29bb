import { randomUUID } from 'node:crypto';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { LedgerError } from '../shared/errors.ts';

const MEMORY_BYTES = 1024 * 1024;

/**
 * Text that is written first and read afterwards: small in memory, the rest in a temporary file.
 */
export class Spool {
  readonly #limitBytes: number;
  #inMemory: string[] = [];
  #inMemoryBytes = 0;
  #file: FileHandle | undefined;
  #fileBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get sizeBytes(): number {
    return this.#fileBytes + this.#inMemoryBytes;
  }

  /** @throws LedgerError `body-too-large`: so much to answer means that too much was sent */
  async write(text: string): Promise<void> {
    this.#inMemory.push(text);
    this.#inMemoryBytes += Buffer.byteLength(text);
    if (this.sizeBytes > this.#limitBytes) {
      throw new LedgerError(
        'body-too-large',
        `The results take more than ${this.#limitBytes} bytes: send fewer lines at a time. ` +
          'The lines before were handled.',
      );
    }
    if (this.#inMemoryBytes > MEMORY_BYTES) await this.#spill();
  }

  read(): Readable {
    return Readable.from(this.#parts());
  }

  async dispose(): Promise<void> {
    await this.#file?.close();
  }

  async *#parts(): AsyncIterable<Buffer | string> {
    if (this.#file !== undefined) {
      const chunk = Buffer.alloc(64 * 1024);
      for (let position = 0; position < this.#fileBytes;) {
        const { bytesRead } = await this.#file.read(chunk, 0, chunk.length, position);
        if (bytesRead === 0) break;
        position += bytesRead;
        yield Buffer.from(chunk.subarray(0, bytesRead));
      }
    }
    if (this.#inMemory.length > 0) yield this.#inMemory.join('');
  }

  async #spill(): Promise<void> {
    this.#file ??= await openNameless();
    const text = Buffer.from(this.#inMemory.join(''));
    await this.#file.appendFile(text);
    this.#fileBytes += text.length;
    this.#inMemory = [];
    this.#inMemoryBytes = 0;
  }
}

/** A file that is gone when it is closed, and also when the process is killed. */
async function openNameless(): Promise<FileHandle> {
  const name = path.join(tmpdir(), `fleetledger-${randomUUID()}`);
  const file = await open(name, 'wx+', 0o600);
  await unlink(name);
  return file;
}
