import fc from 'fast-check';
import type { Decider } from '../../src/commands/core/decider.ts';
import type { DeviceCommand } from '../../src/commands/tenancy/device-decider.ts';
import type { NewKey } from '../../src/commands/tenancy/key-set.ts';
import type { ProjectCommand } from '../../src/commands/tenancy/project-decider.ts';
import type { DomainEvent } from '../../src/events/event.ts';
import type { Role } from '../../src/events/tenancy.ts';
import type { RecordedEvent } from '../../src/event-store/port.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import { LedgerError } from '../../src/shared/errors.ts';
import { PastEvents } from './by-hand.ts';

// Histories that can have happened: what the deciders make of any commands.

export const NOON = '2026-01-31T12:00:00.000Z';

const deviceId = fc.constantFrom('d1', 'd1', 'd2');
const keyName = fc.constantFrom('k1', 'k2', 'k3');
const links = fc.record({
  devEui: fc.constantFrom(null, 'FFA45722AA738240'),
  simCardId: fc.constantFrom(null, '1', '2'),
  sensorId: fc.constantFrom(null, 's1'),
});
export const deviceCommand: fc.Arbitrary<DeviceCommand> = fc.oneof(
  { weight: 3, arbitrary: commandOf('register', { links, createdAt: fc.constant(NOON) }) },
  { weight: 6, arbitrary: commandOf('change', { links }) },
  { weight: 1, arbitrary: commandOf('retire', {}) },
  { weight: 3, arbitrary: commandOf('issue-key', {}) },
  { weight: 2, arbitrary: commandOf('revoke-key', {}) },
);

function commandOf(
  type: DeviceCommand['type'],
  parts: Record<string, fc.Arbitrary<unknown>>,
): fc.Arbitrary<DeviceCommand> {
  return fc.record({ deviceId, name: keyName, ...parts }).map(({ name, ...rest }) => {
    // Each device has keys of its own names.
    const keyId = `${rest.deviceId}-${name}`;
    return { ...rest, type, keyId, key: unnamedKey(keyId) } as unknown as DeviceCommand;
  });
}

const memberId = fc.constantFrom('ada', 'bob', 'eve');
export const projectCommand: fc.Arbitrary<ProjectCommand> = fc
  .record({
    type: fc.constantFrom('add-member', 'add-member', 'remove-member', 'issue-key', 'revoke-key'),
    memberId,
    role: fc.constantFrom<Role[]>('owner', 'member', 'viewer'),
    name: keyName,
  })
  .map(({ type, memberId: id, role, name }) => {
    // A member comes once, with the key that it comes with.
    const keyId = type === 'add-member' ? `first-${id}` : `${id}-${name}`;
    return { type, memberId: id, role, name: id, keyId, key: unnamedKey(keyId) };
  });

export function unnamedKey(keyId: string): NewKey {
  return { keyId, secretHash: `hash of ${keyId}`, issuedAt: NOON };
}

export function createOf(projectId: string): ProjectCommand {
  const owner = { memberId: 'zoe', name: 'Zoe', key: unnamedKey('zoe') };
  return { type: 'create', projectId, name: 'Acme', createdAt: NOON, owner };
}

/** The events of those commands that were not refused. */
export function happened<State, Command, Event extends DomainEvent>(
  decider: Decider<State, Command, Event>,
  commands: readonly Command[],
  streamOf: (command: Command) => StreamName,
): RecordedEvent[] {
  const past = new PastEvents();
  const states = new Map<StreamName, State>();
  return commands.flatMap((command) => {
    const stream = streamOf(command);
    let state = states.get(stream) ?? decider.initialState;
    let events: readonly Event[] = [];
    try {
      events = decider.decide(state, command);
    } catch (error) {
      if (!(error instanceof LedgerError)) throw error;
    }
    for (const event of events) state = decider.evolve(state, event);
    states.set(stream, state);
    return events.map((event) => past.record(stream, event));
  });
}

/** The same event, its key named as a key of that project: keys are known by their id alone. */
export function withKeysOf(projectId: string, event: RecordedEvent): RecordedEvent {
  const { keyId } = event.data;
  if (typeof keyId !== 'string') return event;
  return { ...event, data: { ...event.data, keyId: `${projectId}-${keyId}` } };
}
