import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { BytesInFlight, countedUntilClosed } from '../../../src/api/admission/in-flight.ts';
import { IN_FLIGHT_LIMITS } from '../../../src/api/admission/limits.ts';

const MIB = 1024 * 1024;

test('a key that holds much is refused more, and the others are not', () => {
  const inFlight = new BytesInFlight();
  inFlight.add('greedy', IN_FLIGHT_LIMITS.keyBytes);
  expect(() => inFlight.add('greedy', 1)).toThrow(/in memory/);
  inFlight.add('modest', MIB);
  inFlight.remove('greedy', MIB);
  inFlight.add('greedy', MIB);
});

test('all keys together are refused more than the memory is for', () => {
  const inFlight = new BytesInFlight();
  const keys = Math.floor(IN_FLIGHT_LIMITS.bytes / IN_FLIGHT_LIMITS.keyBytes);
  for (let key = 0; key < keys; key += 1) inFlight.add(`key-${key}`, IN_FLIGHT_LIMITS.keyBytes);
  expect(() => inFlight.add('late', MIB)).toThrow(/in memory/);
});

test('a body counts while it is read and handled, and no longer', () => {
  const responseOf = () => Object.assign(new EventEmitter(), { destroyed: false });
  const sizes = [IN_FLIGHT_LIMITS.keyBytes / 2, IN_FLIGHT_LIMITS.keyBytes];
  for (let turn = 0; turn < 3; turn += 1) {
    const response = responseOf();
    const count = countedUntilClosed('key', response as unknown as ServerResponse);
    for (const size of sizes) count(size);
    const other = countedUntilClosed('key', responseOf() as unknown as ServerResponse);
    other(IN_FLIGHT_LIMITS.uncountedBytes);
    expect(() => other(MIB)).toThrow(/in memory/);
    response.emit('close');
  }
});
