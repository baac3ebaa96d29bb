import { expect, test } from 'vitest';
import { closestName } from '../../src/shared/closest-name.ts';

test.each<[string, string[], string | undefined]>([
  ['timezone', ['end', 'every', 'time_zone', 'start'], 'time_zone'],
  ['size', ['id', 'batch_size', 'deveui_prefix'], 'batch_size'],
  ['DevEUI', ['device_id', 'dev_eui', 'sensor_id'], 'dev_eui'],
  ['form', ['org_id', 'from'], 'from'],
  ['x', ['only'], undefined],
  ['bar', ['cursor', 'limit'], undefined],
  ['DevEUI', ['sim_card_id', 'org_id', 'from'], undefined],
  ['dev-euo', ['org_id', 'dev_eui'], 'dev_eui'],
  ['x', [], undefined],
])('%s stands for one of %j: %s', (given, known, expected) => {
  expect(closestName(given, known)).toBe(expected);
});

test('a name of any length is compared at a bounded cost', () => {
  expect(closestName('x'.repeat(1_000_000), ['a', 'x'])).toBe('x');
});
