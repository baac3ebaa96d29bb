import { randomUUID } from 'node:crypto';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';

const MEMORY_BYTES = 1024 * 1024;

/** Text that is written first and read afterwards: small in memory, the rest in a temporary file. */
export class Spool {
  #inMemory: string[] = [];
  #inMemoryBytes = 0;
  #file: { readonly handle: FileHandle; readonly name: string } | undefined;
  #fileBytes = 0;

  get sizeBytes(): number {
    return this.#fileBytes + this.#inMemoryBytes;
  }

  async write(text: string): Promise<void> {
    this.#inMemory.push(text);
    this.#inMemoryBytes += Buffer.byteLength(text);
    if (this.#inMemoryBytes > MEMORY_BYTES) await this.#spill();
  }

  read(): Readable {
    return Readable.from(this.#parts());
  }

  async dispose(): Promise<void> {
    if (this.#file === undefined) return;
    await this.#file.handle.close();
    await rm(this.#file.name, { force: true });
  }

  async *#parts(): AsyncIterable<Buffer | string> {
    if (this.#file !== undefined) {
      const chunk = Buffer.alloc(64 * 1024);
      for (let position = 0; position < this.#fileBytes;) {
        const { bytesRead } = await this.#file.handle.read(chunk, 0, chunk.length, position);
        if (bytesRead === 0) break;
        position += bytesRead;
        yield Buffer.from(chunk.subarray(0, bytesRead));
      }
    }
    if (this.#inMemory.length > 0) yield this.#inMemory.join('');
  }

  async #spill(): Promise<void> {
    if (this.#file === undefined) {
      const name = path.join(tmpdir(), `fleetledger-${randomUUID()}`);
      this.#file = { handle: await open(name, 'wx+', 0o600), name };
    }
    const { handle } = this.#file;
    const text = Buffer.from(this.#inMemory.join(''));
    await handle.appendFile(text);
    this.#fileBytes += text.length;
    this.#inMemory = [];
    this.#inMemoryBytes = 0;
  }
}
