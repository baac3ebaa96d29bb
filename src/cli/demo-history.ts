import { randomUUID } from 'node:crypto';
import { FoldedStates } from '../commands/core/folded-states.ts';
import { CommandHandler } from '../commands/core/handler.ts';
import type { CommandContext } from '../commands/core/context.ts';
import { batchStream } from '../commands/deveui/decider.ts';
import { openCommands, type Commands } from '../domains.ts';
import type { SnapshotStore } from '../event-store/port.ts';
import type { Ledger } from '../service/ledger.ts';
import { PROJECT, registerFleet, registerProject, type DemoDevice } from './demo-devices.ts';
import { DemoLog } from './demo-log.ts';
import { sha256 } from '../shared/ids.ts';
import { seeded } from './usage-traffic.ts';

const DAYS = 30;
const HOURS_A_DAY = 24;
const HOUR_MS = 3_600_000;
const DAY_MS = HOURS_A_DAY * HOUR_MS;
/** So many events are stored at a time. */
const CHUNK = 1_000;
/** Hours of a day at which devices report their state. */
const REPORT_HOURS = new Set([2, 7, 12, 18]);
const RECORDS_A_DAY = 6;
/** A release, and the days from the first device that takes it up to the last. */
const RELEASES = [
  { version: '1.0.0', from: 0, until: 0, isTrial: false },
  { version: '1.1.0', from: 6, until: 33, isTrial: false },
  { version: '1.2.0-rc.1', from: 17, until: 17, isTrial: true },
  { version: '1.2.0', from: 20, until: 36, isTrial: false },
] as const;
/** They try a release candidate. */
const TRIAL_DEVICES = 3;
const DOWNGRADE = { day: 27, index: 4, version: '1.1.0' };
const REPORT_TAKES_MS = 1_500;
const LAST_IS_SILENT_AFTER_DAY = 21;
const BATCH_SIZE = 4;
const BATCH_EVERY_DAYS = 6;
const TAKEN_SHARE = 0.12;
const PROVIDER = 'http://127.0.0.1:8090';
const REGISTERED = { kind: 'registered', providerStatus: 200 } as const;
const IN_USE = { kind: 'in-use', providerStatus: 422, reason: 'This DevEUI is taken.' } as const;
const BATCH_PATIENCE = { maxFailures: 8, maxConflicts: 50 };
/** Records that a meter sent broken: on these days. */
const BROKEN_ON = new Set([4, 11, 19, 25, 28]);

const NO_SNAPSHOTS: SnapshotStore = {
  load: () => Promise.resolve(undefined),
  save: () => Promise.resolve(),
};

/**
 * Gives an empty log a month of history, so that every chart, list and difference has something to
 * show at once. It is written by the real commands, at the times at which it would have happened. A
 * log that holds anything is left as it is.
 */
export async function writeHistory({ store, logger }: Ledger, secret: Buffer): Promise<void> {
  if ((await store.copyTarget.taken()).kind !== 'nothing') return;
  const log = new DemoLog();
  const states = new FoldedStates(log, NO_SNAPSHOTS, logger, () => undefined);
  const handler = new CommandHandler(log, states);
  const linkedDevices = (): Promise<string[]> => Promise.resolve([]);
  const parts = { store: log, handler, linkedDevices, installationSecret: secret };
  const commands = openCommands(parts);
  await new History(log, commands, secret).write();
  for (let first = 0; first < log.events.length; first += CHUNK) {
    await store.copyTarget.take(log.logId, log.events.slice(first, first + CHUNK));
  }
}

class History {
  readonly #log: DemoLog;
  readonly #commands: Commands;
  readonly #secret: Buffer;
  readonly #begin = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - DAYS * DAY_MS;
  readonly #random = seeded(7);
  #devices: readonly DemoDevice[] = [];

  constructor(log: DemoLog, commands: Commands, secret: Buffer) {
    this.#log = log;
    this.#commands = commands;
    this.#secret = secret;
  }

  async write(): Promise<void> {
    const parts = { tenancy: this.#commands.tenancy, secret: this.#secret };
    this.#log.setClock(new Date(this.#begin));
    await registerProject(parts, new Date(this.#begin));
    this.#devices = await registerFleet(parts, new Date(this.#begin));
    for (let day = 0; day < DAYS; day += 1) {
      for (let hour = 0; hour < HOURS_A_DAY; hour += 1) {
        const now = new Date(this.#begin + day * DAY_MS + hour * HOUR_MS);
        this.#log.setClock(now);
        if (hour === 9 && day % BATCH_EVERY_DAYS === 0) {
          await this.#provision(day / BATCH_EVERY_DAYS, now);
        }
        if (hour === 10) await this.#update(day, now);
        if (hour === 11 && BROKEN_ON.has(day)) await this.#refuse(day);
        if (REPORT_HOURS.has(hour)) await this.#report(day, now);
        if (hour % (HOURS_A_DAY / RECORDS_A_DAY) === 0) await this.#use(now);
      }
    }
  }

  /** A batch for the next four devices. The last four are left for the demo's own first batch. */
  async #provision(week: number, now: Date): Promise<void> {
    const waiting = this.#devices.slice(week * BATCH_SIZE, (week + 1) * BATCH_SIZE);
    const batchId = `demo-batch-${week + 1}`;
    const batch = {
      batchId,
      size: waiting.length,
      prefix: '',
      seed: sha256(batchId),
      provider: PROVIDER,
      concurrency: BATCH_SIZE,
      requestedAt: now.toISOString(),
    };
    await this.#commands.deveui.request(batch, contextOf('owner'));
    for (const device of waiting) await this.#connect(device, batchId, now);
  }

  /** Until one is registered: one in eight DevEUIs belongs to somebody else. */
  async #connect({ deviceId }: DemoDevice, batchId: string, now: Date): Promise<void> {
    const context = contextOf('owner');
    const work = this.#commands.deveui.work(batchStream(PROJECT, batchId), context);
    let isRegistered = false;
    while (!isRegistered) {
      const { state } = await work.begin(now.toISOString());
      const open = 'open' in state ? state.open[0] : undefined;
      if (open === undefined) return;
      const { devEui, attempt } = open;
      isRegistered = this.#random() > TAKEN_SHARE;
      await work.settle({
        devEui,
        attempt,
        outcome: isRegistered ? REGISTERED : IN_USE,
        endedAt: new Date(now.getTime() + 80 + this.#random() * 400).toISOString(),
        ...BATCH_PATIENCE,
      });
      if (isRegistered) await this.#commands.tenancy.devices.change(deviceId, { devEui }, context);
    }
  }

  /** Devices take up a release one after the other, and one goes back to the version before. */
  async #update(day: number, now: Date): Promise<void> {
    const count = this.#devices.length;
    for (const [index, { deviceId, keyId }] of this.#devices.entries()) {
      const isDowngrade = day === DOWNGRADE.day && index === DOWNGRADE.index;
      const version = isDowngrade ? DOWNGRADE.version : versionOn(day, index, count);
      const isNew = day === 0 || version !== versionOn(day - 1, index, count);
      if (!isNew && !isDowngrade) continue;
      const reportedAt = new Date(now.getTime() - REPORT_TAKES_MS);
      const report = { deviceId, component: 'main', version, reportedAt };
      await this.#commands.firmware.report(report, contextOf(keyId));
    }
  }

  async #refuse(day: number): Promise<void> {
    const origin = {
      kind: 'kafka',
      topic: 'usage',
      partition: 0,
      offset: String(day * 97),
    } as const;
    const content = `{"sim-card-id":"89440003","bytes-used":"-${day}","date":"2020-02-30T00:00:00Z"}`;
    const rejection = {
      reason: 'validation-failed',
      detail: 'bytes-used must be a whole number from 0 to 9007199254740991.',
      origin,
      record: Buffer.from(content),
    } as const;
    await this.#commands.usage.reject([rejection], contextOf('kafka:usage'));
  }

  async #report(day: number, now: Date): Promise<void> {
    const last = this.#devices.length - 1;
    for (const [index, { sensorId, keyId }] of this.#devices.entries()) {
      if (index === last && day > LAST_IS_SILENT_AFTER_DAY) continue;
      const flow = Math.round(44 + 14 * Math.sin((day + index) / 3) + 8 * this.#random());
      const battery = { percent: 100 - day * 2 - (index % 5), charging: false };
      const patch = { flow, unit: 'l/min', valve: flow > 45 ? 'open' : 'closed', battery };
      await this.#commands.state.patch(sensorId, { patch, receivedAt: now }, contextOf(keyId));
    }
  }

  /** More on workdays than at weekends. */
  async #use(now: Date): Promise<void> {
    const most = [0, 6].includes(now.getUTCDay()) ? 90_000 : 240_000;
    const entries = this.#devices.map(({ simCardId }, index) => ({
      usage: {
        simCardId,
        bytesUsed: Math.round(most * (1 + (index % 3)) * (0.6 + this.#random())),
        usedAt: now,
      },
      name: { kind: 'new' } as const,
      origin: { kind: 'http', correlationId: randomUUID(), index } as const,
      sent: () => Buffer.alloc(0),
    }));
    await this.#commands.usage.record(entries, contextOf('owner'));
  }
}

function contextOf(actor: string): CommandContext {
  return { projectId: PROJECT, actor, correlationId: randomUUID() };
}

/**
 * The newest release whose turn has come for the device: the first devices are the first to have
 * it.
 */
function versionOn(day: number, index: number, count: number): string {
  const current = RELEASES.findLast(({ from, until, isTrial }) => {
    return isTrial
      ? day >= from && index < TRIAL_DEVICES
      : day >= from + ((until - from) * index) / count;
  });
  return current?.version ?? RELEASES[0].version;
}
