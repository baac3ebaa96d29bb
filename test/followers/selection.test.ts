import { beforeEach, describe, expect, test } from 'vitest';
import type { DomainEvent } from '../../src/events/event.ts';
import type { StreamCategory } from '../../src/events/registry.ts';
import { BEGINNING, type EventStore, type RecordedEvent } from '../../src/event-store/port.ts';
import { streamName } from '../../src/event-store/stream-name.ts';
import { entryOf } from '../../src/followers/entry.ts';
import { Selection, type Filter } from '../../src/followers/selection.ts';
import { PastEvents } from '../projections/by-hand.ts';

const AT = '2026-01-31T12:00:00.000Z';
const SIM = '8944';
const DEV_EUI = 'FFA45722AA738240';

let past: PastEvents;
let log: RecordedEvent[];

beforeEach(() => {
  past = new PastEvents();
  log = [];
});

function happened(
  category: StreamCategory,
  id: string,
  event: DomainEvent,
  projectId = 'acme',
): void {
  log.push(past.record(streamName(category, projectId, id), event));
}

function device(type: string, deviceId: string, data: object = {}): void {
  happened('device', deviceId, { type, data: { deviceId, ...data } });
}

function linked(sensorId: string | null): object {
  return { devEui: DEV_EUI, simCardId: SIM, sensorId };
}

function patched(sensorId: string, projectId = 'acme'): void {
  const data = { sensorId, patch: { n: log.length }, receivedAt: AT };
  happened('sensor', sensorId, { type: 'SensorPatched', data }, projectId);
}

/**
 * The places in the log of what a filter selects, for a follower that begins after so many events.
 */
async function selected(filter: Partial<Filter>, after = 0): Promise<number[]> {
  const store: Pick<EventStore, 'readStream'> = {
    async *readStream(stream) {
      yield* await Promise.resolve(log.filter((event) => event.stream === stream));
    },
  };
  const position = log[after - 1]?.position ?? BEGINNING;
  const whole = { projectId: 'acme', isOwner: false, ...filter };
  const selection = await Selection.after(store, whole, position);
  return log.flatMap((event, place) => {
    if (event.position <= position || !selection.types.includes(event.type)) return [];
    const entry = entryOf(event);
    return entry !== undefined && selection.has(entry) ? [place] : [];
  });
}

describe('an entry', () => {
  test('says what a timeline says, and where it is from', () => {
    happened('firmware', 'd1/x', {
      type: 'FirmwareReported',
      data: { deviceId: 'd1', component: 'main', version: '1.0.0', reportedAt: AT },
    });
    patched('pump/1');
    const [report, patch] = log.map((event) => entryOf(event)?.shown);
    expect(report).toEqual({
      event_id: log[0]?.id,
      type: 'FirmwareReported',
      domain: 'firmware',
      stream: 'firmware-acme.d1/x',
      revision: 0,
      subject: 'devices/d1',
      occurred_at: null,
      recorded_at: '2026-01-31T00:00:01.000Z',
      actor: 'k1',
      data: { deviceId: 'd1', component: 'main', version: '1.0.0' },
    });
    expect(patch).toMatchObject({
      subject: 'sensors/pump%2F1',
      data: { sensorId: 'pump/1', patch: { n: 1 } },
    });
  });

  test('names the holder of a key, and shows no hash', () => {
    const key = { keyId: 'k', secretHash: 'hash', issuedAt: AT };
    happened('device', 'd1', { type: 'KeyIssued', data: { ...key, kind: 'dev', holder: 'd1' } });
    const entry = log.map((event) => entryOf(event)?.shown)[0];
    expect(entry).toMatchObject({ subject: 'devices/d1' });
    expect(JSON.stringify(entry)).not.toContain('hash');
  });
});

describe('a selection', () => {
  test('has the events of its project alone', async () => {
    patched('s1');
    patched('s1', 'other');
    expect(await selected({})).toEqual([0]);
    expect(await selected({ projectId: undefined })).toEqual([0, 1]);
  });

  test('has types, domains and a sensor, as far as they are given', async () => {
    patched('s1');
    patched('s2');
    device('DeviceRegistered', 'd1', { ...linked('s1'), createdAt: AT });
    expect(await selected({ types: ['SensorPatched'] })).toEqual([0, 1]);
    expect(await selected({ domains: ['tenancy'] })).toEqual([2]);
    expect(await selected({ sensorId: 's2' })).toEqual([1]);
    expect(await selected({ types: ['SensorPatched'], domains: ['tenancy'] })).toEqual([]);
  });

  test('of a device has what was linked to it at the time, wherever it begins', async () => {
    patched('s1'); // before it was linked
    device('DeviceRegistered', 'd1', { ...linked('s1'), createdAt: AT });
    patched('s1');
    patched('s2');
    device('DeviceChanged', 'd1', linked('s2'));
    patched('s1');
    patched('s2');
    device('DeviceRetired', 'd1');
    patched('s2');
    const all = [1, 2, 4, 6, 7];
    for (let after = 0; after <= log.length; after += 1) {
      const rest = all.filter((place) => place >= after);
      expect(await selected({ deviceId: 'd1' }, after), `after ${after}`).toEqual(rest);
    }
    expect(await selected({ deviceId: 'd1', types: ['SensorPatched'] })).toEqual([2, 6]);
    expect(await selected({ deviceId: 'd2' })).toEqual([]);
  });

  test('shows members and their keys to owners', async () => {
    const added = { memberId: 'ada', name: 'Ada', role: 'viewer' };
    happened('project', 'project', { type: 'MemberAdded', data: added });
    const key = { keyId: 'k', kind: 'mem', holder: 'ada', secretHash: 'x', issuedAt: AT };
    happened('project', 'project', { type: 'KeyIssued', data: key });
    expect(await selected({})).toEqual([]);
    expect(await selected({ isOwner: true })).toEqual([0, 1]);
  });
});
