const MAX_WAIT_SECONDS = 60;

/**
 * The seconds that `Prefer: wait=<s>` asks for (RFC 7240), at most a minute; undefined when it asks
 * for none. What is not understood is no mistake: a preference may be ignored.
 */
export function waitPreference(prefer: string | undefined): number | undefined {
  for (const preference of preferencesIn(prefer ?? '')) {
    const [, , seconds] = /^wait\s*=\s*("?)(\d{1,9})\1\s*(?:;|$)/i.exec(preference.trim()) ?? [];
    // The first one counts where there are several.
    if (seconds !== undefined) return Math.min(Number(seconds), MAX_WAIT_SECONDS);
  }
  return undefined;
}

/**
 * What stands between the commas that are not within quotes. Takes time in proportion to the text.
 */
function* preferencesIn(prefer: string): Iterable<string> {
  let start = 0;
  let isQuoted = false;
  for (let index = 0; index < prefer.length; index += 1) {
    const character = prefer[index];
    if (character === '"') isQuoted = !isQuoted;
    else if (character === '\\' && isQuoted) index += 1;
    else if (character === ',' && !isQuoted) {
      yield prefer.slice(start, index);
      start = index + 1;
    }
  }
  yield prefer.slice(start);
}
