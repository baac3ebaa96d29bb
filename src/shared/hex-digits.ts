/**
 * The pattern of so many hex digits as people and tools write identifiers of IEEE 802: in either
 * case, with `-`, `:` or blanks between them, and perhaps `0x` before them. Matching takes time
 * that is linear in the length of the text.
 */
export function hexPattern(min: number, max: number): RegExp {
  return new RegExp(String.raw`^(?:\s*0[xX])?(?:[-:\s]*[0-9A-Fa-f]){${min},${max}}[-:\s]*$`);
}

/** The digits of a text that `hexPattern` takes, in upper case and nothing else. */
export function hexDigits(text: string): string {
  return text
    .replace(/^\s*0x/i, '')
    .replaceAll(/[-:\s]/g, '')
    .toUpperCase();
}
