import { createHmac } from 'node:crypto';
import { hexPattern } from '../../shared/hex-digits.ts';

/** A DevEUI (EUI-64) is 16 hex digits; its short code is the last 5. */
const DEVEUI_DIGITS = 16;
const SHORT_CODE_DIGITS = 5;
/** As many as make every output depend on every input by far, also of the smallest space. */
const ROUNDS = 10;

export const MAX_PREFIX_DIGITS = DEVEUI_DIGITS - 1;
export const PREFIX_PATTERN = hexPattern(0, MAX_PREFIX_DIGITS);

/** How many DevEUIs with short codes of their own there are behind a prefix. */
export function shortCodesBehind(prefix: string): number {
  return 16 ** freeShortCodeDigits(prefix);
}

export function shortCodeOf(devEui: string): string {
  return devEui.slice(-SHORT_CODE_DIGITS);
}

/**
 * The DevEUIs that a batch draws, by their place from 0: each looks random, and the seed (32 random
 * bytes) gives the same again. Short codes never repeat, as their free digits are a permutation of
 * the places: a Feistel network, as in format-preserving encryption (NIST SP 800-38G). So nothing
 * has to remember the codes in use, on the retry path neither.
 *
 * Rejected: random draws, checked against a set of those in use. The set is part of the state that
 * each command folds and each snapshot holds: at 10,000 DevEUIs 200 KB, for what one number says
 * here.
 *
 * @param prefix in upper case, without separators
 * @param place below `shortCodesBehind(prefix)`
 */
export function drawDevEui(seed: string, prefix: string, place: number): string {
  const digits = freeShortCodeDigits(prefix);
  const code = permuted(seed, place, digits).toString(16).padStart(digits, '0');
  const between = DEVEUI_DIGITS - prefix.length - digits;
  const random = keyed(seed, `between:${place}`).toString('hex').slice(0, between);
  return `${prefix}${random}${code}`.toUpperCase();
}

function freeShortCodeDigits(prefix: string): number {
  return Math.min(SHORT_CODE_DIGITS, DEVEUI_DIGITS - prefix.length);
}

/** `place` among all numbers of so many hex digits, permuted by the seed. */
function permuted(seed: string, place: number, digits: number): number {
  const half = 2 ** (2 * digits);
  let left = Math.floor(place / half);
  let right = place % half;
  for (let round = 0; round < ROUNDS; round += 1) {
    const mixed = keyed(seed, `round:${digits}:${round}:${right}`).readUInt32BE(0) % half;
    [left, right] = [right, (left + mixed) % half];
  }
  return left * half + right;
}

function keyed(seed: string, text: string): Buffer {
  return createHmac('sha256', Buffer.from(seed, 'hex')).update(text).digest();
}
