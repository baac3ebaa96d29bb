import { expect, test } from 'vitest';
import { publishedData, publishedDomain, publishedTypes } from '../../src/events/published.ts';
import { domainContracts, platformContracts } from '../../src/events/registry.ts';

const ALL = [...Object.values(domainContracts), platformContracts.requests].flatMap(
  ({ types }) => types,
);

test('every event is published, but for those that serve the service alone', () => {
  expect(ALL.filter((type) => !publishedTypes.includes(type)).toSorted()).toEqual([
    'DeviceTransferRefused',
    'LinkClaimVoided',
    'LinkClaimed',
    'MessageClaimed',
    'RequestAnswered',
    'RequestBodyPartKept',
    'RequestItemsAnswered',
    'RequestItemsReserved',
    'RequestReserved',
  ]);
  expect(publishedTypes.every((type) => publishedDomain(type) !== undefined)).toBe(true);
  expect(publishedDomain('RequestAnswered')).toBeUndefined();
});

test('the data of an event is published without what is secret, and only once', () => {
  const data = { keyId: 'k1', kind: 'mem', holder: 'ada', secretHash: 'abc', issuedAt: 'now' };
  const published = publishedData('KeyIssued', data);
  expect(published).toEqual({ keyId: 'k1', kind: 'mem', holder: 'ada', issuedAt: 'now' });
  expect(publishedData('KeyIssued', published)).toEqual(published);
  expect(Object.keys(publishedData('BatchRequested', { batchId: 'b', seed: 'ff' }))).toEqual([
    'batchId',
  ]);
  expect(publishedData('DeviceRetired', { deviceId: 'd' })).toEqual({ deviceId: 'd' });
});
