const MAX_WAIT_SECONDS = 60;

/**
 * The seconds that `Prefer: wait=<s>` asks for (RFC 7240), at most a minute; undefined when it asks for
 * none. What is not understood is no mistake: a preference may be ignored.
 */
export function waitPreference(prefer: string | undefined): number | undefined {
  // Commas and semicolons within quotes separate nothing.
  const preferences = prefer?.match(/(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|$))+/g) ?? [];
  for (const preference of preferences) {
    const [, , seconds] = /^\s*wait\s*=\s*("?)(\d{1,9})\1\s*(?:;|$)/i.exec(preference) ?? [];
    // Of several the first counts.
    if (seconds !== undefined) return Math.min(Number(seconds), MAX_WAIT_SECONDS);
  }
  return undefined;
}
