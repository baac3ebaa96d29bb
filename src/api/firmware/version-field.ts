import { compare, parse } from 'semver';
import { z } from 'zod';

/**
 * SemVer 2.0 in full, kept as it was sent: the library alone would also take `v1.0.0`, and drop the
 * build.
 */
export const versionField = z
  .string('must be a version as SemVer 2.0 has it')
  .refine(
    (text) => /^\d\S*$/.test(text) && parse(text)?.raw === text,
    'must be a version as SemVer 2.0 has it, such as 1.4.0-rc.1+build.7',
  )
  .meta({ examples: ['1.0.0', '2.1.0-rc.1+build.7'] });

/** The version that a component had before, if it was a higher one. Builds have no order. */
export function downgradedFrom(version: string, previous: string | null): string | null {
  return previous !== null && compare(previous, version) > 0 ? previous : null;
}
