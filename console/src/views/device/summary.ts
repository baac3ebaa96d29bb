type Data = Readonly<Record<string, unknown>>;

/** What happened, in a sentence. Events that it does not know are told by their name. */
export function summaryOf(type: string, data: Data): string {
  return SENTENCES[type]?.(data) ?? wordsOf(type);
}

const SENTENCES: Readonly<Record<string, (data: Data) => string>> = {
  DeviceRegistered: (data) => `Registered${linksOf(data)}`,
  DeviceChanged: (data) => `Links changed${linksOf(data)}`,
  DeviceRetired: () => 'Retired',
  DeviceSeen: () => 'Seen',
  DeviceTransferred: ({ to }) => `Transferred to the project ${text(to)}`,
  KeyIssued: ({ keyId }) => `Key ${text(keyId)} issued`,
  KeyRevoked: ({ keyId }) => `Key ${text(keyId)} revoked`,
  SimAssigned: ({ simCardId, orgId }) =>
    orgId === null
      ? `SIM card ${text(simCardId)} belongs to no organization any more`
      : `SIM card ${text(simCardId)} assigned to ${text(orgId)}`,
  FirmwareReported: ({ component, version }) =>
    component === 'main'
      ? `Reported firmware ${text(version)}`
      : `Reported ${text(component)} ${text(version)}`,
  SensorPatched: ({ patch }) => `State patched: ${membersOf(patch)}`,
  UsageRecorded: ({ bytesUsed }) => `Used ${text(bytesUsed)} bytes`,
  DevEuiRegistered: ({ devEui }) => `DevEUI ${text(devEui)} registered with the provider`,
  DevEuiAttempted: ({ devEui, attempt }) =>
    `DevEUI ${text(devEui)} sent to the provider, attempt ${text(attempt)}`,
  DevEuiConflicted: ({ devEui }) => `DevEUI ${text(devEui)} refused by the provider`,
};

const LONGEST_VALUE = 40;

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function membersOf(patch: unknown): string {
  if (typeof patch !== 'object' || patch === null) return 'nothing';
  return Object.entries(patch)
    .map(([name, value]) => `${name} = ${shortened(JSON.stringify(value))}`)
    .join(', ');
}

function shortened(value: string): string {
  return value.length > LONGEST_VALUE ? `${value.slice(0, LONGEST_VALUE)}…` : value;
}

function linksOf({ devEui, simCardId, sensorId }: Data): string {
  const links = [
    ['DevEUI', devEui],
    ['SIM card', simCardId],
    ['sensor', sensorId],
  ].flatMap(([name, id]) => (typeof id === 'string' ? [`${String(name)} ${id}`] : []));
  return links.length === 0 ? '' : `: ${links.join(', ')}`;
}

/** `BatchRequested` as `Batch requested`. */
function wordsOf(type: string): string {
  const words = type.replaceAll(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words;
}
