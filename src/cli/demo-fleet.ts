import type { DemoDevice } from './demo-devices.ts';
import { sleep } from '../shared/sleep.ts';

const REPORT_INTERVAL_MS = 1_000;
const BATCH_INTERVAL_MS = 30_000;
const FIRMWARE_INTERVAL_MS = 30_000;
const USAGE_INTERVAL_MS = 5_000;
const NEWEST_VERSION = '1.2.0';
const NEXT_VERSION = '1.3.0-rc.1';
const TRIAL_SHARE = 0.1;
const BATCH_SIZE = 4;

/** Devices that use the API as devices do, and somebody who gives them DevEUIs. */
export class DemoFleet {
  readonly #url: string;
  readonly #ownerKey: string;
  readonly #devices: readonly DemoDevice[];
  readonly #stopping = new AbortController();
  #done: Promise<unknown> = Promise.resolve();

  constructor(url: string, ownerKey: string, devices: readonly DemoDevice[]) {
    this.#url = url;
    this.#ownerKey = ownerKey;
    this.#devices = devices;
  }

  start(): void {
    this.#done = Promise.all([
      this.#every(REPORT_INTERVAL_MS, () => this.#report()),
      this.#every(BATCH_INTERVAL_MS, () => this.#provision()),
      this.#every(FIRMWARE_INTERVAL_MS, () => this.#reportFirmware()),
      this.#every(USAGE_INTERVAL_MS, () => this.#meter()),
    ]);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
  }

  async #every(intervalMs: number, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      // Devices are patient: what fails now is tried again with the next report.
      await work().catch(() => undefined);
      await sleep(intervalMs, signal);
    }
  }

  async #report(): Promise<void> {
    const device = this.#devices[Math.floor(Math.random() * this.#devices.length)];
    if (device === undefined) return;
    const flow = Math.round(40 + 20 * Math.random());
    await this.#send('PATCH', `/sensors/${device.sensorId}`, device.key, {
      data: { flow, unit: 'l/min', valve: flow > 45 ? 'open' : 'closed' },
    });
  }

  /**
   * One device after the other takes up the newest release, and now and then one tries the next.
   */
  async #reportFirmware(): Promise<void> {
    const device = this.#devices[Math.floor(Math.random() * this.#devices.length)];
    if (device === undefined) return;
    const version = Math.random() < TRIAL_SHARE ? NEXT_VERSION : NEWEST_VERSION;
    const timestamp = Math.floor(Date.now() / 1_000);
    await this.#send('POST', '/firmware', device.key, { version, timestamp });
  }

  /** As an operator of a mobile network does it, who knows SIM cards only. */
  async #meter(): Promise<void> {
    const date = new Date().toISOString();
    const records = this.#devices.map(({ simCardId }) => ({
      'sim-card-id': simCardId,
      'bytes-used': Math.round(10_000 * Math.random()),
      date,
    }));
    await this.#send('POST', '/usage', this.#ownerKey, records);
  }

  /** A batch for those that have no DevEUI yet; each gets one of those that were registered. */
  async #provision(): Promise<void> {
    const { items } = (await this.#send('GET', '/devices?has_dev_eui=false', this.#ownerKey)) as {
      items: { device_id: string }[];
    };
    const waiting = items.slice(0, BATCH_SIZE);
    if (waiting.length === 0) return;
    const devEuis = await this.#spareDevEuis();
    if (devEuis.length < waiting.length) {
      const wanted = { batch_size: waiting.length - devEuis.length };
      await this.#send('POST', '/batches', this.#ownerKey, wanted, { Prefer: 'wait=20' });
      devEuis.splice(0, devEuis.length, ...(await this.#spareDevEuis()));
    }
    for (const [index, { device_id: deviceId }] of waiting.entries()) {
      const devEui = devEuis[index];
      if (devEui === undefined) break;
      await this.#send('PATCH', `/devices/${deviceId}`, this.#ownerKey, { dev_eui: devEui });
    }
  }

  /** Registered, and on no device: also of a batch that took longer than was waited for. */
  async #spareDevEuis(): Promise<string[]> {
    const { items } = (await this.#send('GET', '/deveuis?limit=500', this.#ownerKey)) as {
      items: { deveui: string; status: string; device_id: string | null }[];
    };
    return items
      .filter(({ status, device_id: deviceId }) => status === 'registered' && deviceId === null)
      .map(({ deveui }) => deveui);
  }

  async #send(
    method: string,
    path: string,
    key: string,
    body?: object,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<unknown> {
    const response = await fetch(`${this.#url}/api/v1${path}`, {
      method,
      headers: {
        Authorization: `Bearer ${key}`,
        ...(body !== undefined && { 'Content-Type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: this.#stopping.signal,
    });
    return response.json();
  }
}
