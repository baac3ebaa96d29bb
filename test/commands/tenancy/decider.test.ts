import { describe, expect, test } from 'vitest';
import { deviceDecider, type DeviceCommand } from '../../../src/commands/tenancy/device-decider.ts';
import {
  installationDecider,
  type InstallationCommand,
} from '../../../src/commands/tenancy/installation-decider.ts';
import {
  projectDecider,
  type ProjectCommand,
} from '../../../src/commands/tenancy/project-decider.ts';
import type { NewKey } from '../../../src/commands/tenancy/key-set.ts';
import type {
  DeviceEvent,
  DeviceLinks,
  KeyEvent,
  ProjectEvent,
} from '../../../src/events/tenancy.ts';
import { given } from '../core/given-when-then.ts';

/** Ids that a record without care finds in its prototype, or sets it with. */
const AWKWARD_IDS = ['constructor', '__proto__', 'toString', 'hasOwnProperty', ''];
const NOON = '2026-01-31T12:00:00.000Z';

const installation = (...events: readonly KeyEvent[]) => given(installationDecider, events);
const project = (...events: readonly ProjectEvent[]) => given(projectDecider, events);
const device = (...events: readonly DeviceEvent[]) => given(deviceDecider, events);

function key(keyId: string): NewKey {
  return { keyId, secretHash: `hash of ${keyId}`, issuedAt: NOON };
}

function issued(kind: 'adm' | 'mem' | 'dev', holder: string, keyId: string): KeyEvent {
  return { type: 'KeyIssued', data: { kind, holder, ...key(keyId) } };
}

function revoked(kind: 'adm' | 'mem' | 'dev', holder: string, keyId: string): KeyEvent {
  return { type: 'KeyRevoked', data: { kind, holder, keyId } };
}

/** As client code may send it again: equal, and another object. */
function again<Command>(command: Command): Command {
  return structuredClone(command);
}

describe('the installation', () => {
  const first: InstallationCommand = { type: 'issue-first-key', key: key('k1') };

  test('gets a first key once, whoever else starts at the same time', () => {
    installation()
      .when(first)
      .thenEvents(issued('adm', 'installation', 'k1'));
    installation(issued('adm', 'installation', 'k0'))
      .when(first)
      .thenNothing();
  });

  test('gets no other first key after the first one was revoked', () => {
    installation(issued('adm', 'installation', 'k0'), revoked('adm', 'installation', 'k0'))
      .when(first)
      .thenNothing();
  });

  test('gets further keys', () => {
    installation(issued('adm', 'installation', 'k1'))
      .when({ type: 'issue-key', key: key('k2') })
      .thenEvents(issued('adm', 'installation', 'k2'));
  });

  test('revokes a key once', () => {
    const revoke: InstallationCommand = { type: 'revoke-key', keyId: 'k1' };

    installation(issued('adm', 'installation', 'k1'))
      .when(revoke)
      .thenEvents(revoked('adm', 'installation', 'k1'));
    installation(issued('adm', 'installation', 'k1'), revoked('adm', 'installation', 'k1'))
      .when(revoke)
      .thenNothing();
  });

  test.each(AWKWARD_IDS)('knows no key %j that was not issued', (keyId) => {
    installation(issued('adm', 'installation', 'k1'))
      .when({ type: 'revoke-key', keyId })
      .thenRefused('not-found');
  });
});

describe('a project', () => {
  const create: ProjectCommand = {
    type: 'create',
    projectId: 'acme',
    name: 'Acme',
    createdAt: NOON,
    owner: { memberId: 'ada', name: 'Ada', key: key('k-ada') },
  };
  const created: ProjectEvent[] = [
    { type: 'ProjectCreated', data: { projectId: 'acme', name: 'Acme', createdAt: NOON } },
    { type: 'MemberAdded', data: { memberId: 'ada', name: 'Ada', role: 'owner' } },
    issued('mem', 'ada', 'k-ada'),
  ];
  const added = (memberId: string, role: 'owner' | 'member' | 'viewer'): ProjectEvent[] => [
    { type: 'MemberAdded', data: { memberId, name: memberId, role } },
    issued('mem', memberId, `k-${memberId}`),
  ];
  const add = (memberId: string, role: 'owner' | 'member' | 'viewer'): ProjectCommand => ({
    type: 'add-member',
    memberId,
    name: memberId,
    role,
    key: key(`k-${memberId}`),
  });
  const removed = (memberId: string): ProjectEvent => ({
    type: 'MemberRemoved',
    data: { memberId },
  });
  const remove = (memberId: string): ProjectCommand => ({ type: 'remove-member', memberId });

  test('is created with its owner and the key of the owner', () => {
    project()
      .when(create)
      .thenEvents(...created);
  });

  test('is created once, whoever is its owner', () => {
    project(...created)
      .when(create)
      .thenRefused('project-exists');
    project(...created)
      .when({ ...create, owner: { memberId: 'bob', name: 'Bob', key: key('k-bob') } })
      .thenRefused('project-exists');
  });

  test.each<ProjectCommand>([
    add('bob', 'owner'),
    remove('ada'),
    { type: 'issue-key', memberId: 'ada', key: key('k2') },
    { type: 'revoke-key', keyId: 'k-ada' },
  ])('that was never created takes no command: $type', (command) => {
    project().when(command).thenRefused('not-found');
  });

  test.each(['owner', 'member', 'viewer'] as const)('takes members: %s', (role) => {
    project(...created)
      .when(add('bob', role))
      .thenEvents(...added('bob', role));
  });

  test('a member that was added is not added again', () => {
    project(...created, ...added('bob', 'viewer'))
      .when(again(add('bob', 'viewer')))
      .thenNothing();
    project(...created, ...added('bob', 'viewer'), removed('bob'))
      .when(again(add('bob', 'viewer')))
      .thenNothing();
  });

  test('the last owner stays', () => {
    project(...created)
      .when(remove('ada'))
      .thenRefused('last-owner');
    project(...created, ...added('bob', 'member'), ...added('eve', 'viewer'))
      .when(remove('ada'))
      .thenRefused('last-owner');
  });

  test('an owner may go while another stays, who is then the last', () => {
    const two = [...created, ...added('bob', 'owner')];

    project(...two)
      .when(remove('ada'))
      .thenEvents(removed('ada'));
    project(...two)
      .when(remove('bob'))
      .thenEvents(removed('bob'));
    project(...two, removed('ada'))
      .when(remove('bob'))
      .thenRefused('last-owner');
  });

  test('the last key of the last owner is not revoked, nor is an owner removed who alone has one', () => {
    const keyIdOf = (events: readonly ProjectEvent[]): string =>
      events.flatMap((event) => (event.type === 'KeyIssued' ? [event.data.keyId] : []))[0] ?? '';
    const first = keyIdOf(created);
    const two = [...created, ...added('bob', 'owner')];
    const second = keyIdOf(added('bob', 'owner'));
    const revoke = (keyId: string) => ({ type: 'revoke-key', keyId }) as const;

    project(...created)
      .when(revoke(first))
      .thenRefused('last-owner');
    project(...created, ...added('bob', 'member'))
      .when(revoke(first))
      .thenRefused('last-owner');
    project(...two)
      .when(revoke(first))
      .thenEvents(revoked('mem', 'ada', first));
    project(...two, revoked('mem', 'ada', first))
      .when(revoke(first))
      .thenNothing();
    for (const command of [revoke(second), remove('bob')]) {
      project(...two, revoked('mem', 'ada', first))
        .when(command)
        .thenRefused('last-owner');
    }
    project(...two, revoked('mem', 'ada', first))
      .when(remove('ada'))
      .thenEvents(removed('ada'));
    project(...created, ...added('eve', 'viewer'))
      .when(revoke(keyIdOf(added('eve', 'viewer'))))
      .thenEvents(revoked('mem', 'eve', keyIdOf(added('eve', 'viewer'))));
  });

  test('members and viewers may go', () => {
    project(...created, ...added('bob', 'member'))
      .when(remove('bob'))
      .thenEvents(removed('bob'));
    project(...created, ...added('bob', 'viewer'))
      .when(remove('bob'))
      .thenEvents(removed('bob'));
  });

  test('a removed member is not there any more', () => {
    const bobLeft = [...created, ...added('bob', 'member'), removed('bob')];

    project(...bobLeft)
      .when(remove('bob'))
      .thenRefused('not-found');
    project(...bobLeft)
      .when({ type: 'issue-key', memberId: 'bob', key: key('k2') })
      .thenRefused('not-found');
  });

  test('the key of a removed member can still be revoked', () => {
    project(...created, ...added('bob', 'member'), removed('bob'))
      .when({ type: 'revoke-key', keyId: 'k-bob' })
      .thenEvents(revoked('mem', 'bob', 'k-bob'));
  });

  test('a key is issued to a member once', () => {
    const issue: ProjectCommand = { type: 'issue-key', memberId: 'ada', key: key('k2') };

    project(...created)
      .when(issue)
      .thenEvents(issued('mem', 'ada', 'k2'));
    project(...created, issued('mem', 'ada', 'k2'))
      .when(again(issue))
      .thenNothing();
  });

  test('a key is revoked once, with the name of its holder', () => {
    const revoke: ProjectCommand = { type: 'revoke-key', keyId: 'k-bob' };
    const before = [...created, ...added('bob', 'member')];

    project(...before)
      .when(revoke)
      .thenEvents(revoked('mem', 'bob', 'k-bob'));
    project(...before, revoked('mem', 'bob', 'k-bob'))
      .when(revoke)
      .thenNothing();
  });

  test('a revoked key is not made valid by issuing it again', () => {
    project(...created, revoked('mem', 'ada', 'k-ada'))
      .when({ type: 'issue-key', memberId: 'ada', key: key('k-ada') })
      .thenNothing();
  });

  test.each(AWKWARD_IDS)('knows no member and no key %j that was not added', (id) => {
    project(...created)
      .when(remove(id))
      .thenRefused('not-found');
    project(...created)
      .when({ type: 'issue-key', memberId: id, key: key('k2') })
      .thenRefused('not-found');
    project(...created)
      .when({ type: 'revoke-key', keyId: id })
      .thenRefused('not-found');
  });

  test.each(AWKWARD_IDS)('takes a member %j with a key of that id as any other', (id) => {
    const withMember = [
      ...created,
      { type: 'MemberAdded', data: { memberId: id, name: 'Odd', role: 'owner' } } as const,
      issued('mem', id, id),
    ];

    project(...created)
      .when({ type: 'add-member', memberId: id, name: 'Odd', role: 'owner', key: key(id) })
      .thenEvents(...withMember.slice(created.length));
    project(...withMember)
      .when(remove('ada'))
      .thenEvents(removed('ada'));
    project(...withMember)
      .when(remove(id))
      .thenEvents(removed(id));
    project(...withMember, removed(id))
      .when(remove(id))
      .thenRefused('not-found');
    project(...withMember, removed('ada'))
      .when(remove(id))
      .thenRefused('last-owner');
    project(...withMember)
      .when({ type: 'revoke-key', keyId: id })
      .thenEvents(revoked('mem', id, id));
    project(...withMember, revoked('mem', id, id))
      .when({ type: 'revoke-key', keyId: id })
      .thenNothing();
    expect(Reflect.get({}, 'role')).toBeUndefined();
  });
});

describe('a device', () => {
  const LINKS: DeviceLinks = { devEui: 'FFA45722AA738240', simCardId: null, sensorId: 's1' };
  const register = (deviceId: string): DeviceCommand => ({
    type: 'register',
    deviceId,
    links: LINKS,
    createdAt: NOON,
    key: key('k1'),
  });
  const registered = (deviceId: string): DeviceEvent[] => [
    { type: 'DeviceRegistered', data: { deviceId, ...LINKS, createdAt: NOON } },
    issued('dev', deviceId, 'k1'),
  ];
  const changed = (links: Partial<DeviceLinks>): DeviceEvent => ({
    type: 'DeviceChanged',
    data: { deviceId: 'd1', ...LINKS, ...links },
  });
  const change = (links: Partial<DeviceLinks>): DeviceCommand => ({
    type: 'change',
    deviceId: 'd1',
    links,
  });
  const retired: DeviceEvent = { type: 'DeviceRetired', data: { deviceId: 'd1' } };
  const retire: DeviceCommand = { type: 'retire', deviceId: 'd1' };
  const revoke: DeviceCommand = { type: 'revoke-key', deviceId: 'd1', keyId: 'k1' };

  test.each(['d1', ...AWKWARD_IDS])('is registered with its links and a key: %j', (deviceId) => {
    device()
      .when(register(deviceId))
      .thenEvents(...registered(deviceId));
  });

  test('is registered once, also after it was retired', () => {
    device(...registered('d1'))
      .when(again(register('d1')))
      .thenRefused('device-exists');
    device(...registered('d1'), retired)
      .when(register('d1'))
      .thenRefused('device-exists');
  });

  test.each<DeviceCommand>([
    change({ simCardId: '894' }),
    retire,
    { type: 'issue-key', deviceId: 'd1', key: key('k2') },
    revoke,
  ])('that was never registered takes no command: $type', (command) => {
    device().when(command).thenRefused('not-found');
  });

  test('a change names all links as they are from now on', () => {
    device(...registered('d1'))
      .when(change({ simCardId: '894' }))
      .thenEvents(changed({ simCardId: '894' }));
  });

  test('a change builds on the changes before it', () => {
    device(...registered('d1'), changed({ simCardId: '894' }))
      .when(change({ sensorId: null }))
      .thenEvents(changed({ simCardId: '894', sensorId: null }));
  });

  test.each<Partial<DeviceLinks>>([{}, { sensorId: 's1' }, { ...LINKS }])(
    'a change to what is so already is none: %j',
    (links) => {
      device(...registered('d1'))
        .when(change(links))
        .thenNothing();
    },
  );

  test.each<Partial<DeviceLinks>>([{ devEui: null }, { simCardId: '894' }, { sensorId: 's2' }])(
    'any link may change: %j',
    (links) => {
      device(...registered('d1'))
        .when(change(links))
        .thenEvents(changed(links));
    },
  );

  test('is retired once', () => {
    device(...registered('d1'))
      .when(retire)
      .thenEvents(retired);
    device(...registered('d1'), retired)
      .when(retire)
      .thenNothing();
  });

  test('takes no change and no key once it is retired', () => {
    const gone = [...registered('d1'), retired];

    device(...gone)
      .when(change({ simCardId: '894' }))
      .thenRefused('device-retired');
    device(...gone)
      .when(change({}))
      .thenRefused('device-retired');
    device(...gone)
      .when({ type: 'issue-key', deviceId: 'd1', key: key('k2') })
      .thenRefused('device-retired');
  });

  test('a key is issued once', () => {
    const issue: DeviceCommand = { type: 'issue-key', deviceId: 'd1', key: key('k2') };

    device(...registered('d1'))
      .when(issue)
      .thenEvents(issued('dev', 'd1', 'k2'));
    device(...registered('d1'), issued('dev', 'd1', 'k2'))
      .when(again(issue))
      .thenNothing();
  });

  test('a key is revoked once, also of a retired device', () => {
    device(...registered('d1'))
      .when(revoke)
      .thenEvents(revoked('dev', 'd1', 'k1'));
    device(...registered('d1'), retired)
      .when(revoke)
      .thenEvents(revoked('dev', 'd1', 'k1'));
    device(...registered('d1'), revoked('dev', 'd1', 'k1'))
      .when(revoke)
      .thenNothing();
  });

  test.each(AWKWARD_IDS)('knows no key %j that was not issued', (keyId) => {
    device(...registered('d1'))
      .when({ type: 'revoke-key', deviceId: 'd1', keyId })
      .thenRefused('not-found');
  });

  test('its keys outlive its changes', () => {
    device(...registered('d1'), changed({ sensorId: null }))
      .when(revoke)
      .thenEvents(revoked('dev', 'd1', 'k1'));
  });
});

describe('a device that goes to another project', () => {
  const links: DeviceLinks = { devEui: null, simCardId: '8944', sensorId: 's1' };
  const registered: DeviceEvent = {
    type: 'DeviceRegistered',
    data: { deviceId: 'd1', ...links, createdAt: NOON },
  };
  const received: DeviceEvent = {
    type: 'DeviceRegistered',
    data: { deviceId: 'd1', ...links, createdAt: NOON, transferredFrom: 'there', transferId: 't1' },
  };
  const started: DeviceEvent = {
    type: 'DeviceTransferStarted',
    data: { deviceId: 'd1', to: 'here', transferId: 't1' },
  };
  const refused: DeviceEvent = {
    type: 'DeviceTransferRefused',
    data: { deviceId: 'd1', from: 'there', transferId: 't1' },
  };
  const cancelled: DeviceEvent = { type: 'DeviceTransferCancelled', data: { deviceId: 'd1' } };
  const left: DeviceEvent = { type: 'DeviceTransferred', data: { deviceId: 'd1', to: 'here' } };
  const receive = (...keyIds: readonly string[]): DeviceCommand => ({
    type: 'receive',
    deviceId: 'd1',
    links,
    createdAt: NOON,
    from: 'there',
    transferId: 't1',
    keys: keyIds.map(key),
  });
  const start = (to = 'here', transferId = 't1'): DeviceCommand => ({
    type: 'start-transfer',
    deviceId: 'd1',
    to,
    transferId,
  });
  const finish: DeviceCommand = { type: 'finish-transfer', deviceId: 'd1', transferId: 't1' };
  const cancel: DeviceCommand = { type: 'cancel-transfer', deviceId: 'd1', transferId: 't1' };

  test('is to go there, is received with its keys, and has left', () => {
    device(registered, issued('dev', 'd1', 'k1'))
      .when(start())
      .thenEvents(started);
    device()
      .when(receive('k1', 'k2'))
      .thenEvents(received, issued('dev', 'd1', 'k1'), issued('dev', 'd1', 'k2'));
    device(registered, started).when(finish).thenEvents(left);
  });

  test('does each of it once', () => {
    device(registered, started).when(start()).thenNothing();
    device(registered, started, left).when(start()).thenNothing();
    device(registered, started, left).when(finish).thenNothing();
    device(received, issued('dev', 'd1', 'k1'))
      .when(receive('k1'))
      .thenNothing();
  });

  test('goes nowhere else meanwhile, and changes in nothing', () => {
    const commands: readonly DeviceCommand[] = [
      start('elsewhere'),
      { type: 'change', deviceId: 'd1', links: { sensorId: null } },
      { type: 'retire', deviceId: 'd1' },
      { type: 'issue-key', deviceId: 'd1', key: key('k2') },
    ];
    const before = [registered, issued('dev', 'd1', 'k1'), started];
    for (const command of commands) {
      device(...before)
        .when(command)
        .thenRefused('device-transferred');
      device(...before, left)
        .when(command)
        .thenRefused('device-transferred');
    }
    const revoke: DeviceCommand = { type: 'revoke-key', deviceId: 'd1', keyId: 'k1' };
    device(...before)
      .when(revoke)
      .thenEvents(revoked('dev', 'd1', 'k1'));
    device(...before, left)
      .when(revoke)
      .thenRefused('device-transferred');
  });

  test('takes no place that another device has, or had; then it stays as it was', () => {
    const refuse: DeviceCommand = {
      type: 'refuse-transfer',
      deviceId: 'd1',
      from: 'there',
      transferId: 't1',
    };
    device(registered).when(receive('k1')).thenEvents(refused);
    device(registered, { type: 'DeviceRetired', data: { deviceId: 'd1' } })
      .when(receive('k1'))
      .thenEvents(refused);
    device().when(refuse).thenEvents(refused);
    device(refused).when(receive('k1')).thenNothing();
    device(registered, refused, started, left).when(receive('k1')).thenNothing();
    device(received).when(refuse).thenNothing();
    device(registered, started).when(cancel).thenEvents(cancelled);
    device(registered, started, left).when(cancel).thenNothing();
    device(registered, started, cancelled)
      .when(start('elsewhere', 't2'))
      .thenEvents({
        type: 'DeviceTransferStarted',
        data: { deviceId: 'd1', to: 'elsewhere', transferId: 't2' },
      });
  });

  test('is on its way until its own transfer has ended, not an earlier one', () => {
    const next = { ...started, data: { ...started.data, transferId: 't2' } };
    for (const command of [finish, cancel]) {
      device(registered, started, cancelled, next).when(command).thenNothing();
    }
  });

  test('is received once by a transfer, whatever has become of it there since', () => {
    const retired: DeviceEvent = { type: 'DeviceRetired', data: { deviceId: 'd1' } };
    device(received, retired).when(receive()).thenNothing();
    device(received, started, left).when(receive()).thenNothing();
  });

  test('is received by a transfer without a name as in earlier releases', () => {
    const { transferId: _, ...unnamed } = receive() as Extract<DeviceCommand, { type: 'receive' }>;
    const command: DeviceCommand = { ...unnamed, transferId: undefined };
    device(received).when(command).thenNothing();
    device(registered).when(command).thenRefused('device-exists');
    device()
      .when(command)
      .thenEvents({
        type: 'DeviceRegistered',
        data: { deviceId: 'd1', ...links, createdAt: NOON, transferredFrom: 'there' },
      });
  });

  test('comes back with the keys that it has then', () => {
    device(registered, issued('dev', 'd1', 'k1'), started, left)
      .when(receive('k1', 'k9'))
      .thenEvents(received, issued('dev', 'd1', 'k1'), issued('dev', 'd1', 'k9'));
  });

  test('is not one that is retired', () => {
    device(registered, { type: 'DeviceRetired', data: { deviceId: 'd1' } })
      .when(start())
      .thenRefused('device-retired');
  });
});
