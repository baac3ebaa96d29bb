import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseUsage, parseUsageText } from '../../../src/commands/usage/record.ts';
import type { Json } from '../../../src/shared/json.ts';
import { isKeepableText } from '../../../src/shared/text.ts';

const RECORD = { 'sim-card-id': '89440001', 'bytes-used': '1024', date: '2022-02-18T00:00:00Z' };
const USAGE = { simCardId: '89440001', bytesUsed: 1_024, usedAt: new Date('2022-02-18') };
const EVENT = { specversion: '1.0', id: 'e1', source: '/meters/1', type: 'usage', data: RECORD };

describe('a record of usage', () => {
  test.each<[string, Json]>([
    ['with bytes as text', RECORD],
    ['with bytes as a number', { ...RECORD, 'bytes-used': 1_024 }],
    [
      'with names in snake case',
      { sim_card_id: '89440001', bytes_used: 1_024, date: '2022-02-18T00:00:00Z' },
    ],
    ['with an offset', { ...RECORD, date: '2022-02-18T05:30:00+05:30' }],
    ['with a time in lower case', { ...RECORD, date: '2022-02-18t00:00:00z' }],
    ['with a blank before the time', { ...RECORD, date: '2022-02-18 00:00:00Z' }],
    ['with blanks around the SIM card', { ...RECORD, 'sim-card-id': ' 89440001\t' }],
    ['with null as its id', { ...RECORD, id: null }],
    ['with null where a CloudEvent has its version', { ...RECORD, specversion: null }],
    ['with null beside the other name of a member', { ...RECORD, sim_card_id: null }],
    [
      'with null in the name with hyphens',
      { ...RECORD, 'sim-card-id': null, sim_card_id: '89440001' },
    ],
    ['with more members than are known', { ...RECORD, meter: { a: [1] } }],
  ])('is read %s', (_how, json) => {
    expect(parseUsage(json)).toEqual({ kind: 'usable', usage: USAGE, name: undefined });
  });

  test('is known by an id of its own', () => {
    expect(parseUsage({ ...RECORD, id: 'r-1' })).toMatchObject({ name: { kind: 'id', id: 'r-1' } });
  });

  test('in a CloudEvent may have null for its time, and for a date that the event has', () => {
    expect(parseUsage({ ...EVENT, time: null })).toMatchObject({ usage: USAGE });
    const data = { ...RECORD, date: null };
    expect(parseUsage({ ...EVENT, time: RECORD.date, data })).toMatchObject({ usage: USAGE });
  });

  test('in a CloudEvent is known by the id and source of that', () => {
    const name = { kind: 'cloud-event', source: '/meters/1', id: 'e1' };
    expect(parseUsage(EVENT)).toEqual({ kind: 'usable', usage: USAGE, name });
    expect(parseUsage({ ...EVENT, data: { ...RECORD, id: 'r-1' } })).toMatchObject({ name });
  });

  test.each<[string, Json]>([
    ['is no object', 7],
    ['is null', null],
    ['is an array', [RECORD]],
    ['lacks a SIM card', { 'bytes-used': 1, date: '2022-02-18T00:00:00Z' }],
    ['has a SIM card that is no text', { ...RECORD, 'sim-card-id': 89440001 }],
    ['has a SIM card without a name', { ...RECORD, 'sim-card-id': '' }],
    ['has a SIM card of 257 characters', { ...RECORD, 'sim-card-id': 'x'.repeat(257) }],
    ['has a SIM card that no store keeps', { ...RECORD, 'sim-card-id': 'a\u0000' }],
    ['has a SIM card in scientific notation', { ...RECORD, 'sim-card-id': '8.94E+19' }],
    ['has the day 00', { ...RECORD, date: '2020-02-00T00:00:00Z' }],
    ['has a day that the calendar lacks', { ...RECORD, date: '2021-02-29T00:00:00Z' }],
    ['has a date without a time', { ...RECORD, date: '2022-02-18' }],
    ['has a time without an offset', { ...RECORD, date: '2022-02-18T00:00:00' }],
    ['is of a year that no query reaches', { ...RECORD, date: '9999-01-01T00:00:00Z' }],
    ['has a SIM card of blanks', { ...RECORD, 'sim-card-id': '  ' }],
    ['is of the year 0', { ...RECORD, date: '0001-01-01T00:00:00+01:00' }],
    ['has negative bytes', { ...RECORD, 'bytes-used': -1 }],
    ['has negative bytes as text', { ...RECORD, 'bytes-used': '-1' }],
    ['has half a byte', { ...RECORD, 'bytes-used': 0.5 }],
    ['has bytes in words', { ...RECORD, 'bytes-used': 'many' }],
    ['has bytes as another notation', { ...RECORD, 'bytes-used': '1e3' }],
    ['has no bytes', { ...RECORD, 'bytes-used': '' }],
    ['has more bytes than are exact', { ...RECORD, 'bytes-used': '9007199254740992' }],
    ['has bytes that are no number', { ...RECORD, 'bytes-used': true }],
    ['has an id that is no text', { ...RECORD, id: 1 }],
    ['is a CloudEvent without an id', { ...EVENT, id: '' }],
    ['is a CloudEvent of another version', { ...EVENT, specversion: '0.3' }],
    ['is a CloudEvent without data', { ...EVENT, data: null }],
    ['is a CloudEvent with bad data', { ...EVENT, data: { ...RECORD, date: '' } }],
  ])('that %s is refused, with the rule that it breaks', (_how, json) => {
    const parsed = parseUsage(json);
    expect(parsed).toMatchObject({ kind: 'unusable', reason: 'validation-failed' });
    expect(parsed.kind === 'unusable' && parsed.detail).toMatch(/\w/);
  });

  test('of a leap second is of the second before, and so of the same day', () => {
    const parsed = parseUsage({ ...RECORD, date: '2016-12-31T23:59:60.5Z' });
    expect(parsed).toMatchObject({ usage: { usedAt: new Date('2016-12-31T23:59:59.500Z') } });
  });

  test('that is no JSON is refused as such', () => {
    expect(parseUsageText('{"sim-card-id":')).toMatchObject({ reason: 'malformed-json' });
  });

  test('that holds what no store keeps is refused in words that are kept', () => {
    for (const text of ['{"a":\u0000', '\u0000', '{"a":"\ud800']) {
      const parsed = parseUsageText(text);
      expect(parsed).toMatchObject({ kind: 'unusable' });
      expect(parsed.kind === 'unusable' && isKeepableText(parsed.detail)).toBe(true);
    }
  });

  test('is read or refused, and never throws, whatever it is', () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.record({ ...mutated(RECORD) })), (json) => {
        expect(['usable', 'unusable']).toContain(parseUsage(json as Json).kind);
      }),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(['usable', 'unusable']).toContain(parseUsageText(text).kind);
      }),
    );
  });
});

function mutated(record: Readonly<Record<string, string>>): Record<string, fc.Arbitrary<unknown>> {
  const members = Object.entries(record).map(([name, value]) => [
    name,
    fc.oneof(fc.constant(value), fc.jsonValue()),
  ]);
  return Object.fromEntries(members) as Record<string, fc.Arbitrary<unknown>>;
}
