/** Whether text can be kept by every store: no U+0000, no lone surrogates (I-JSON, RFC 7493). */
export function isKeepableText(text: string): boolean {
  return !text.includes('\u0000') && text.isWellFormed();
}
