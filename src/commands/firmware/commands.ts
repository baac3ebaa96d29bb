import type { EventStore, Position } from '../../event-store/port.ts';
import { streamName } from '../../event-store/stream-name.ts';
import { nameBasedId, sha256 } from '../../shared/ids.ts';
import { appendOnce } from '../core/append.ts';
import type { CommandParts } from '../core/command-parts.ts';
import { envelope, type CommandContext } from '../core/context.ts';

/** Turns a report's identity into the id of its event (RFC 9562, version 5). */
const REPORT_NAMESPACE = '8c1f2f0e-3e0a-4a54-9a64-6f0d5b7c2e11';

export interface FirmwareReport {
  readonly deviceId: string;
  readonly component: string;
  /** SemVer 2.0 */
  readonly version: string;
  readonly hardware?: string | undefined;
  /** When the device made the report, as its own clock shows it. */
  readonly reportedAt: Date;
}

export interface KeptReport {
  /** The event that holds the report, now or since the first time it was sent. */
  readonly eventId: string;
  readonly position: Position;
}

export class FirmwareCommands {
  readonly #store: EventStore;

  constructor({ store }: Pick<CommandParts, 'store'>) {
    this.#store = store;
  }

  /**
   * Keeps a report, once however often it is sent: device, component, version and time are its
   * identity, which names the stream and the event, so the log itself knows a repetition. There
   * is no state to decide on, and nothing to load.
   * @throws LedgerError `overloaded`, `store-unavailable`
   */
  async report(
    { hardware, reportedAt, ...report }: FirmwareReport,
    { projectId, actor, correlationId, identity }: CommandContext,
  ): Promise<KeptReport> {
    const { deviceId, component, version } = report;
    // The name holds a digest, as versions and components may be too long for a name.
    const digest = sha256(JSON.stringify([component, version, reportedAt.getTime()]));
    const stream = streamName('firmware', projectId, deviceId, digest);
    const eventId = nameBasedId(REPORT_NAMESPACE, stream);
    const data = {
      ...report,
      ...(hardware !== undefined && { hardware }),
      reportedAt: reportedAt.toISOString(),
    };
    const event = envelope(
      { type: 'FirmwareReported', data },
      { projectId, actor, correlationId, ...(identity && { identity }), occurredAt: reportedAt },
      eventId,
    );
    const write = { stream, expectedRevision: 'no-stream', events: [event] } as const;
    const kept = await appendOnce(this.#store, write);
    if (kept.outcome === 'appended') return { eventId, position: kept.position };
    // Behind events of another application, a repetition is not known by its place.
    if (kept.first.id !== eventId) throw new Error(`${stream} holds another event`);
    return { eventId, position: kept.first.position };
  }
}
