/** 16 digits with one `E` among them are a DevEUI, and no spreadsheet writes such an exponent. */
const LIKE_DEVEUI = /^[\dE]{16}$/i;

/**
 * Whether an id is a number in scientific notation (`8.94E+19`): spreadsheets write long ids so,
 * and the digits that they leave out are lost.
 */
export function isScientific(id: string): boolean {
  return /^\d+([.,]\d+)?E[-+]?\d+$/i.test(id) && !LIKE_DEVEUI.test(id);
}

export const SCIENTIFIC_RULE =
  'must not be in scientific notation: send all its digits, and in a spreadsheet format the ' +
  'column as text';
