import { LRUCache } from 'lru-cache';
import type { EventStore, Write } from '../../event-store/port.ts';
import { streamName } from '../../event-store/stream-name.ts';
import type { Clock } from '../../shared/clock.ts';
import { nameBasedId } from '../../shared/ids.ts';
import type { Logger } from '../../shared/logger.ts';
import { appendOne } from '../core/append.ts';
import { envelope } from '../core/context.ts';

const RESOLUTION_MS = 300_000;
const MAX_REMEMBERED_KEYS = 200_000;
/** More than these at once are left to the next requests of their devices. */
const MAX_APPENDING = 256;
/** What moves `last_seen_at` without a further event. */
const REPORTS: ReadonlySet<string> = new Set(['SensorPatched', 'FirmwareReported']);
/** Turns a device's id into the place at which its slots begin. */
const SLOT_NAMESPACE = '0b1b4f0e-6c2d-4d57-9a55-3f5e0f0c7a11';

interface SeenDevice {
  readonly projectId: string;
  readonly deviceId: string;
  readonly keyId: string;
}

/**
 * Notes that devices were heard of, at most once in five minutes for each, and beside the request:
 * the request does not wait for it, and one that fails is left to the next request of the device.
 * The log refuses what another process has noted in the same five minutes.
 */
export class DeviceSightings {
  readonly #store: EventStore;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** When each key was last noted here, or reported something. */
  readonly #notedAtMs = new LRUCache<string, number>({ max: MAX_REMEMBERED_KEYS });
  #appending = 0;

  constructor(store: EventStore, clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** What this process appended. */
  appended({ events }: Write): void {
    for (const { type, metadata } of events) {
      if (REPORTS.has(type)) this.#notedAtMs.set(metadata.actor, this.#clock().getTime());
    }
  }

  /** The device has made a request with this key, which is over. */
  seen(device: SeenDevice, correlationId: string): void {
    const now = this.#clock().getTime();
    const notedAt = this.#notedAtMs.get(device.keyId) ?? Number.NEGATIVE_INFINITY;
    if (Math.abs(now - notedAt) < RESOLUTION_MS || this.#appending >= MAX_APPENDING) return;
    this.#notedAtMs.set(device.keyId, now);
    this.#appending += 1;
    this.#append(device, now, correlationId)
      .catch((error: unknown) => {
        this.#notedAtMs.delete(device.keyId);
        this.#logger.debug({ err: error }, 'cannot record that a device was seen');
      })
      .finally(() => {
        this.#appending -= 1;
      });
  }

  async #append(
    { projectId, deviceId, keyId }: SeenDevice,
    now: number,
    correlationId: string,
  ): Promise<void> {
    const event = { type: 'DeviceSeen', data: { deviceId } } as const;
    await appendOne(this.#store, {
      stream: streamName('seen', projectId, deviceId, String(slotOf(deviceId, now))),
      events: [envelope(event, { projectId, actor: keyId, correlationId })],
      expectedRevision: 'no-stream',
    });
  }
}

/**
 * Slots of different devices begin at different times: else all of them would be recorded at once.
 */
function slotOf(deviceId: string, timeMs: number): number {
  const offset = Number.parseInt(nameBasedId(SLOT_NAMESPACE, deviceId).slice(0, 8), 16);
  return Math.floor((timeMs + (offset % RESOLUTION_MS)) / RESOLUTION_MS);
}
