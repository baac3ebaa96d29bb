const TIME = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2})(:\d{2})?(\.\d+)?([Zz]|[+-]\d{2}:\d{2})?$/;

/**
 * A time of RFC 3339 as `Date` and Temporal read it. RFC 3339 also allows `t` and `z`, a blank for
 * `T`, and second 60: a leap second, which counts as second 59, so that it stays within its day.
 * Any other text is returned as it is.
 */
export function canonicalTime(text: string): string {
  const [, day, minute, second = '', fraction = '', offset = ''] = TIME.exec(text) ?? [];
  if (day === undefined || minute === undefined) return text;
  return `${day}T${minute}${second === ':60' ? ':59' : second}${fraction}${offset.toUpperCase()}`;
}

/**
 * A time in a query whose `+` was not percent-encoded, so that it was decoded to a blank:
 * `2026-01-01T00:00:00 02:00`. A blank in place of the `T` stays.
 */
export function withPlusRestored(text: string): string {
  return text.replace(/^(.*\d{2}:\d{2}.*) (?=\d{2}:\d{2}$)/, '$1+');
}
