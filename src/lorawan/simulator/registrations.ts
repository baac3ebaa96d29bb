import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';

/**
 * Which DevEUIs are registered, in their order; with a file, also behind a restart: one line of
 * JSON each, `{"deveui":"…","at":"…"}`.
 */
export class Registrations {
  readonly #devEuis: Set<string>;
  readonly #file: number | undefined;

  /** @throws what node:fs throws, when the file can neither be read nor made */
  constructor(logFile: string | undefined) {
    // 'a+' also allows reading, and creates the file if it is missing.
    this.#file = logFile === undefined ? undefined : openSync(logFile, 'a+');
    const text = this.#file === undefined ? '' : readFileSync(this.#file, 'utf8');
    this.#devEuis = new Set(readLog(text));
    // A line that was cut short must not take the next one with it.
    if (this.#file !== undefined && text !== '' && !text.endsWith('\n'))
      writeSync(this.#file, '\n');
  }

  get size(): number {
    return this.#devEuis.size;
  }

  has(devEui: string): boolean {
    return this.#devEuis.has(devEui);
  }

  /** In the file when this returns: nobody learns of what a restart would forget. */
  add(devEui: string): void {
    this.#devEuis.add(devEui);
    if (this.#file === undefined) return;
    const line = JSON.stringify({ deveui: devEui, at: new Date().toISOString() });
    writeSync(this.#file, `${line}\n`);
  }

  all(): string[] {
    return [...this.#devEuis];
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
  }
}

function* readLog(text: string): Generator<string> {
  for (const line of text.split('\n')) {
    const devEui = /"deveui":"([0-9A-Z]{1,64})"/.exec(line)?.[1];
    if (devEui !== undefined) yield devEui;
  }
}
