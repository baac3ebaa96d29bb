import type { ServerResponse } from 'node:http';
import { LedgerError } from '../shared/errors.ts';
import { EventStream, type StreamEnd } from './event-stream.ts';

/** Whose stream it is. */
export interface StreamOwner {
  readonly keyId: string;
  readonly projectId: string;
  readonly kind: 'admin' | 'member' | 'device';
}

export interface OpenStreamsOptions {
  /**
   * Aborted when the process is to end: all streams end, and their clients resume in another
   * process.
   */
  readonly draining: AbortSignal;
  readonly limits?: Partial<typeof STREAM_LIMITS>;
}

/**
 * An idle stream costs a connection; one whose reader does not read holds up to about 100 KiB. The
 * limits keep all of them far below the memory of a small machine.
 */
export const STREAM_LIMITS = {
  inProcess: 4_000,
  perProject: 2_000,
  perDeviceKey: 8,
  /** A reader that takes nothing for so long is closed. It can resume. */
  blockedMs: 30_000,
  /** Proxies close connections on which nothing comes for a minute, and some after half of that. */
  keepAliveMs: 15_000,
};
/** A revoked key ends its streams within a second. */
const SWEEP_MS = 400;
/** Clients of a process that ends come back spread over this time. */
const MAX_RETRY_MS = 2_000;

interface Open {
  readonly owner: StreamOwner;
  readonly isAllowed: () => Promise<boolean>;
  readonly stream: EventStream | undefined;
  readonly end: (reason: StreamEnd) => void;
}

/**
 * The streams that this process has open, and the requests that wait for events: how many there may
 * be, and what ends them. One timer serves all of them.
 */
export class OpenStreams {
  readonly #draining: AbortSignal;
  readonly #limits: typeof STREAM_LIMITS;
  readonly #open = new Set<Open>();
  readonly #ended: Record<StreamEnd, number> = {
    left: 0,
    drained: 0,
    revoked: 0,
    slow: 0,
    failed: 0,
  };
  #timer: NodeJS.Timeout | undefined;
  #isSweeping = false;

  constructor({ draining, limits }: OpenStreamsOptions) {
    this.#draining = draining;
    this.#limits = { ...STREAM_LIMITS, ...limits };
    draining.addEventListener('abort', () => this.#drain(), { once: true });
  }

  get status(): { open: number; lagSeconds: number; ended: Readonly<Record<StreamEnd, number>> } {
    const lags = [...this.#open].map(({ stream }) => stream?.lagMs ?? 0);
    return {
      open: this.#open.size,
      lagSeconds: Math.max(0, ...lags) / 1_000,
      ended: { ...this.#ended },
    };
  }

  /**
   * Opens a stream over a response. `isAllowed` is asked again and again: once it says no, the
   * stream ends.
   * @throws LedgerError `overloaded`, `shutting-down`; then nothing was written
   */
  open(
    response: ServerResponse,
    owner: StreamOwner,
    isAllowed: () => Promise<boolean>,
    position: string,
  ): EventStream {
    this.#requireRoom(owner);
    const stream = new EventStream(response, position, (end) => {
      this.#ended[end] += 1;
      this.#remove(open);
    });
    const open: Open = { owner, isAllowed, stream, end: (reason) => stream.end(reason) };
    this.#add(open);
    // A client that left before this is heard of no more: its stream would stay open for ever.
    if (response.destroyed) stream.destroy('left');
    return stream;
  }

  /**
   * Counts a request that waits for events; `end` is called by whatever ends a stream. Gives what
   * is to be called when the wait is over.
   * @throws LedgerError as `open`
   */
  wait(owner: StreamOwner, isAllowed: () => Promise<boolean>, end: () => void): () => void {
    this.#requireRoom(owner);
    const open: Open = { owner, isAllowed, stream: undefined, end };
    this.#add(open);
    return () => this.#remove(open);
  }

  #requireRoom({ kind, keyId, projectId }: StreamOwner): void {
    if (this.#draining.aborted) {
      throw new LedgerError('shutting-down', 'The process is shutting down: connect again.');
    }
    const { inProcess, perProject, perDeviceKey } = this.#limits;
    const others = [...this.#open].filter(({ owner }) => owner.projectId === projectId);
    const ofKey = others.filter(({ owner }) => owner.keyId === keyId).length;
    if (kind === 'device' && ofKey >= perDeviceKey) {
      throw tooMany(`A device key may have ${perDeviceKey} event streams open`);
    }
    if (others.length >= perProject) {
      throw tooMany(`A project may have ${perProject} event streams open in each process`);
    }
    if (this.#open.size >= inProcess) {
      throw tooMany(`This process has ${inProcess} event streams open, and may have no more`);
    }
  }

  #add(open: Open): void {
    this.#open.add(open);
    this.#timer ??= setInterval(() => void this.#sweep(), SWEEP_MS).unref();
  }

  #remove(open: Open): void {
    this.#open.delete(open);
    if (this.#open.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #drain(): void {
    for (const { stream, end } of this.#open) {
      if (stream === undefined) end('drained');
      else stream.end('drained', Math.ceil(Math.random() * MAX_RETRY_MS));
    }
  }

  async #sweep(): Promise<void> {
    for (const { stream } of this.#open) {
      if (stream === undefined) continue;
      if (stream.blockedMs > this.#limits.blockedMs) stream.destroy('slow');
      else stream.keepAlive(this.#limits.keepAliveMs);
    }
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    try {
      await this.#endRevoked();
    } finally {
      this.#isSweeping = false;
    }
  }

  /** Asks once for each key, however many streams it has. */
  async #endRevoked(): Promise<void> {
    const byKey = new Map<string, Open[]>();
    for (const open of this.#open) {
      const streams = byKey.get(open.owner.keyId);
      if (streams === undefined) byKey.set(open.owner.keyId, [open]);
      else streams.push(open);
    }
    await Promise.all(
      [...byKey.values()].map(async (streams) => {
        // While it cannot be told (the log is unavailable), no event comes either: streams stay
        // open.
        const isAllowed = (await streams[0]?.isAllowed().catch(() => true)) ?? true;
        if (!isAllowed) for (const { end } of streams) end('revoked');
      }),
    );
  }
}

function tooMany(what: string): LedgerError {
  return new LedgerError('overloaded', `${what}: close one, or connect to another process.`);
}
