import { APPEND_STREAMS, runCallers, type AppendLoad } from './append-load.ts';
import { sensorEvent, sensorStream, type SensorEvent } from './sensor-event.ts';

/** One that appends, for as long as it is told. Gives the events that were stored per second. */
export interface Appender {
  run(durationMs: number): Promise<number>;
  /** How many events its log holds: as many as were acknowledged, or it throws. */
  verify(): Promise<void>;
  close(): Promise<void>;
}

/** `expectedRevision`: undefined when there must be no stream. */
export type Append = (
  stream: string,
  events: readonly SensorEvent[],
  expectedRevision: bigint | undefined,
) => Promise<{ readonly revision: bigint; readonly position: bigint }>;

/** One log, by one API. */
export interface AppendTarget {
  readonly append: Append;
  /** `streams`: all that were appended to. */
  countStored(streams: readonly string[]): Promise<bigint>;
  close(): Promise<void>;
}

/** The same events for every target, each append with the exact revision of its stream. */
export function appenderTo(target: AppendTarget, load: AppendLoad): Appender {
  const streams = Array.from({ length: APPEND_STREAMS }, (_, index) => ({
    name: sensorStream(index),
    revision: undefined as bigint | undefined,
    patches: 0,
  }));
  let acknowledged = 0;

  async function append(streamIndex: number): Promise<void> {
    const stream = streams[streamIndex];
    if (stream === undefined) throw new Error(`there is no stream ${streamIndex}`);
    const events = [];
    for (let count = 0; count < load.eventsPerAppend; count++) {
      events.push(sensorEvent(streamIndex, stream.patches++));
    }
    const { revision } = await target.append(stream.name, events, stream.revision);
    stream.revision = revision;
  }

  return {
    async run(durationMs) {
      const { eventsPerSecond, events } = await runCallers(load, durationMs, append);
      acknowledged += events;
      return eventsPerSecond;
    },
    async verify() {
      const written = streams.filter(({ revision }) => revision !== undefined);
      const stored = await target.countStored(written.map(({ name }) => name));
      if (stored !== BigInt(acknowledged)) {
        throw new Error(`${acknowledged} events were acknowledged, ${stored} are stored`);
      }
    },
    close: () => target.close(),
  };
}
