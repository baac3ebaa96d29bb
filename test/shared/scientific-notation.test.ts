import { expect, test } from 'vitest';
import { isScientific } from '../../src/shared/scientific-notation.ts';

test.each(['8.94E+19', '8,94E+19', '8.9e19', '89E19', '12E5', '1e-7'])(
  '%s is in scientific notation',
  (id) => {
    expect(isScientific(id)).toBe(true);
  },
);

test.each(['8944000100000000000', '12E', 'E5', 'a12E5', '8.94', '1234567890123E45', '12E5-b'])(
  '%s is an id with all its characters',
  (id) => {
    expect(isScientific(id)).toBe(false);
  },
);
