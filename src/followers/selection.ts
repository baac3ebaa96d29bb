import type { EventStore, Position } from '../event-store/port.ts';
import { streamName } from '../event-store/stream-name.ts';
import { publishedDomain, publishedTypes, type Domain } from '../events/published.ts';
import type { DeviceLinks } from '../events/tenancy.ts';
import type { JsonObject } from '../shared/json.ts';
import { entryOf, type Entry } from './entry.ts';

/** Which events a follower wants, and which of them it may be shown. */
export interface Filter {
  /** Undefined for events of all projects. */
  readonly projectId: string | undefined;
  /** Whether events about members and their keys are shown. */
  readonly isOwner: boolean;
  readonly types?: readonly string[] | undefined;
  readonly domains?: readonly Domain[] | undefined;
  /** Events about this device, and about what was linked to it when they were recorded. */
  readonly deviceId?: string | undefined;
  readonly sensorId?: string | undefined;
  readonly batchId?: string | undefined;
}

const NO_LINKS: DeviceLinks = { devEui: null, simCardId: null, sensorId: null };
/** The events that change what is linked to a device. */
const LINK_CHANGES = ['DeviceRegistered', 'DeviceChanged', 'DeviceRetired', 'DeviceTransferred'];

/**
 * Selects the entries of a filter, of events that are given in the order of their positions. What
 * is linked to a device is folded from the events themselves, so the same events are selected in
 * every process and however far behind a follower is.
 */
export class Selection {
  readonly #filter: Filter;
  readonly #types: ReadonlySet<string>;
  #links = NO_LINKS;

  private constructor(filter: Filter) {
    this.#filter = filter;
    this.#types = new Set(wantedTypes(filter));
  }

  /** The selection for events after a position. */
  static async after(
    store: Pick<EventStore, 'readStream'>,
    filter: Filter,
    position: Position,
  ): Promise<Selection> {
    const selection = new Selection(filter);
    const { projectId, deviceId } = filter;
    if (projectId === undefined || deviceId === undefined) return selection;
    for await (const event of store.readStream(streamName('device', projectId, deviceId))) {
      if (event.position > position) break;
      const entry = entryOf(event);
      if (entry !== undefined) selection.#follow(entry);
    }
    return selection;
  }

  /** The types of events that must be given: those that are wanted, and those that change links. */
  get types(): readonly string[] {
    if (this.#filter.deviceId === undefined) return [...this.#types];
    return [...new Set([...this.#types, ...LINK_CHANGES])];
  }

  has(entry: Entry): boolean {
    const { projectId, isOwner, deviceId, sensorId, batchId } = this.#filter;
    if (projectId !== undefined && entry.projectId !== projectId) return false;
    this.#follow(entry);
    return (
      this.#types.has(entry.type) &&
      (isOwner || !entry.isForOwners) &&
      (deviceId === undefined || this.#isAboutDevice(entry, deviceId)) &&
      (sensorId === undefined ||
        (entry.domain === 'state' && entry.data['sensorId'] === sensorId)) &&
      (batchId === undefined || (entry.domain === 'deveui' && entry.data['batchId'] === batchId))
    );
  }

  #follow({ type, data }: Entry): void {
    const { deviceId } = this.#filter;
    if (deviceId === undefined || data['deviceId'] !== deviceId) return;
    if (type === 'DeviceRegistered' || type === 'DeviceChanged') this.#links = linksIn(data);
    if (type === 'DeviceRetired' || type === 'DeviceTransferred') this.#links = NO_LINKS;
  }

  #isAboutDevice({ domain, data }: Entry, deviceId: string): boolean {
    const { devEui, simCardId, sensorId } = this.#links;
    if (domain === 'deveui') return devEui !== null && data['devEui'] === devEui;
    if (domain === 'state') return sensorId !== null && data['sensorId'] === sensorId;
    if (domain === 'usage') return simCardId !== null && data['simCardId'] === simCardId;
    return data['deviceId'] === deviceId || (data['kind'] === 'dev' && data['holder'] === deviceId);
  }
}

function wantedTypes({ types = publishedTypes, domains }: Filter): readonly string[] {
  if (domains === undefined) return types;
  return types.filter((type) => domains.some((domain) => domain === publishedDomain(type)));
}

/** The events of a device hold all of its links. */
function linksIn(data: JsonObject): DeviceLinks {
  const { devEui = null, simCardId = null, sensorId = null } = data;
  return { devEui, simCardId, sensorId } as DeviceLinks;
}
