/**
 * The DevEUI that a body asks for, in upper case; undefined when there is none. It is lenient to what
 * clients are known to send: the key in any case, and JSON under any content type, as `curl -d` calls it
 * a form; or a form indeed.
 */
export function askedDevEui(body: string): string | undefined {
  for (const [key, value] of fieldsOf(body)) {
    if (key.toLowerCase() !== 'deveui' || typeof value !== 'string') continue;
    return /^[0-9a-f]{16}$/i.test(value) ? value.toUpperCase() : undefined;
  }
  return undefined;
}

function fieldsOf(body: string): Iterable<readonly [string, unknown]> {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? Object.entries(value) : [];
  } catch {
    return new URLSearchParams(body);
  }
}
