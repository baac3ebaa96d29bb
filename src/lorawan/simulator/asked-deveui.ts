import { hexDigits, hexPattern } from '../../shared/hex-digits.ts';

/** What a body asks to register: a DevEUI in upper case, text that is none, or nothing. */
export type Asked =
  | { readonly kind: 'deveui'; readonly devEui: string }
  | { readonly kind: 'malformed'; readonly text: string }
  | { readonly kind: 'nothing' };

const DEVEUI = hexPattern(16, 16);
/** What some clients call a DevEUI: their own short codes, for example. */
const ANY_CODE = /^[0-9A-Za-z]{1,64}$/;

/**
 * It is lenient to what clients are known to send: the key in any case, and JSON under any content
 * type, as `curl -d` calls it a form; or a form indeed. With `isLenient`, any code of letters and
 * digits counts as a DevEUI.
 */
export function askedDevEui(body: string, isLenient: boolean): Asked {
  for (const [key, value] of fieldsOf(body)) {
    if (key.toLowerCase() !== 'deveui' || typeof value !== 'string') continue;
    if (DEVEUI.test(value)) return { kind: 'deveui', devEui: hexDigits(value) };
    if (isLenient && ANY_CODE.test(value)) return { kind: 'deveui', devEui: value.toUpperCase() };
    return { kind: 'malformed', text: value };
  }
  return { kind: 'nothing' };
}

function fieldsOf(body: string): Iterable<readonly [string, unknown]> {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? Object.entries(value) : [];
  } catch {
    return new URLSearchParams(body);
  }
}
