import { request as httpRequest, type IncomingMessage } from 'node:http';
import { createParser } from 'eventsource-parser';
import { expect, onTestFinished, vi } from 'vitest';

export interface Message {
  readonly id: string;
  readonly event: string | undefined;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface StreamOptions {
  readonly url: string;
  readonly key?: string | undefined;
  /** Below the base path. */
  readonly path?: string;
  readonly lastEventId?: string | undefined;
}

/**
 * A connection that reads Server-Sent Events, as a browser's EventSource does, but does not
 * reconnect.
 */
export class SseConnection {
  readonly messages: Message[] = [];
  readonly comments: string[] = [];
  /** In milliseconds, once the server has said so. */
  retry: number | undefined;
  /** The last id, also of a message without data. */
  lastEventId: string | undefined;
  status: number | undefined;
  headers: IncomingMessage['headers'] = {};
  /** All that came, as text. */
  text = '';
  /** How it ended; undefined while it is open. */
  ended: 'properly' | 'cut' | undefined;
  readonly #request: ReturnType<typeof httpRequest>;
  #response: IncomingMessage | undefined;

  constructor({ url, key, path = '/events', lastEventId }: StreamOptions) {
    this.lastEventId = lastEventId;
    const parser = createParser({
      onEvent: ({ id = '', event, data }) => {
        this.messages.push({ id, event, data: JSON.parse(data) as Message['data'] });
      },
      onComment: (comment) => this.comments.push(comment),
      onRetry: (retry) => (this.retry = retry),
    });
    this.#request = httpRequest(`${url}/api/v1${path}`, {
      agent: false,
      headers: {
        accept: 'text/event-stream',
        ...(key !== undefined && { authorization: `Bearer ${key}` }),
        ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
      },
    });
    this.#request.on('error', () => (this.ended ??= 'cut'));
    this.#request.on('response', (response) => {
      this.#response = response;
      this.status = response.statusCode;
      this.headers = response.headers;
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        this.text += chunk;
        parser.feed(chunk);
        const ids = [...chunk.matchAll(/^id: (\S+)$/gm)];
        this.lastEventId = ids.at(-1)?.[1] ?? this.lastEventId;
      });
      response.on('end', () => (this.ended ??= response.complete ? 'properly' : 'cut'));
      response.on('error', () => (this.ended ??= 'cut'));
    });
    this.#request.end();
  }

  /** Reads nothing more until `resume`. */
  pause(): void {
    this.#response?.pause();
  }

  resume(): void {
    this.#response?.resume();
  }

  close(): void {
    this.#request.destroy();
  }
}

/** Connected, and closed with the test. */
export async function follow(options: StreamOptions): Promise<SseConnection> {
  const connection = new SseConnection(options);
  onTestFinished(() => connection.close());
  await vi.waitFor(() => expect(connection.comments).not.toEqual([]), {
    timeout: 10_000,
    interval: 5,
  });
  return connection;
}
