/** What is used of autocannon, which has no types of its own. */
declare module 'autocannon' {
  import type { EventEmitter } from 'node:events';

  interface AutocannonRequest {
    readonly method: string;
    readonly path: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
  }

  interface AutocannonClient {
    setRequests(requests: AutocannonRequest[]): void;
  }

  interface AutocannonOptions {
    readonly url: string;
    readonly connections: number;
    readonly amount: number;
    readonly setupClient: (client: AutocannonClient) => void;
  }

  /** Emits `response` with (client, status, bytes, milliseconds). */
  export default function autocannon(
    options: AutocannonOptions,
    callback: (error: Error | null, result: object) => void,
  ): EventEmitter;
}
