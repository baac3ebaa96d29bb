import { LedgerError } from '../shared/errors.ts';
import { etag, type RequestHeaders } from './route.ts';

/**
 * `If-Match` and `If-None-Match` of a change (RFC 9110, section 13), as the write side takes them:
 * a function that refuses, given the revision that the change would be decided on.
 */
export function precondition({
  ifMatch,
  ifNoneMatch,
}: RequestHeaders): ((revision: bigint | 'no-stream') => void) | undefined {
  if (ifMatch === undefined && ifNoneMatch === undefined) return undefined;
  return (revision) => {
    const current = revision === 'no-stream' ? undefined : etag(revision);
    const isMet =
      (ifMatch === undefined || isListed(byRevision(ifMatch), current)) &&
      (ifNoneMatch === undefined || !isListed(byRevision(ifNoneMatch), current));
    if (isMet) return;
    const actual = revision === 'no-stream' ? 'not there' : `at revision ${revision.toString()}`;
    throw new LedgerError(
      'precondition-failed',
      `The resource is ${actual}: read it again, and send the ETag of that answer.`,
    );
  };
}

/** Tags of answers that show more than a revision: a change depends on that alone. */
function byRevision(tags: string): string {
  return tags.replaceAll(/"(\d+)-[0-9a-f]{16}"/g, '"$1"');
}

/**
 * Whether a list of tags names this one, of what is there. `weak`: weak tags compare equal, too.
 */
export function isListed(
  tags: string,
  etagOfCurrent: string | undefined,
  { weak = false }: { readonly weak?: boolean } = {},
): boolean {
  if (etagOfCurrent === undefined) return false;
  return tags.split(',').some((tag) => {
    const trimmed = weak ? tag.trim().replace(/^W\//, '') : tag.trim();
    return trimmed === '*' || trimmed === etagOfCurrent;
  });
}
