import { LedgerError } from '../shared/errors.ts';
import type { RequestHeaders } from './route.ts';

/**
 * `If-Match` and `If-None-Match` of a change (RFC 9110, section 13), as the write side takes them: a
 * function that refuses, given the revision that the change would be decided on.
 */
export function precondition({
  ifMatch,
  ifNoneMatch,
}: RequestHeaders): ((revision: bigint | 'no-stream') => void) | undefined {
  if (ifMatch === undefined && ifNoneMatch === undefined) return undefined;
  return (revision) => {
    const isMet =
      (ifMatch === undefined || isListed(ifMatch, revision)) &&
      (ifNoneMatch === undefined || !isListed(ifNoneMatch, revision));
    if (isMet) return;
    const actual = revision === 'no-stream' ? 'nothing' : `revision ${revision.toString()}`;
    throw new LedgerError(
      'precondition-failed',
      `There is ${actual} by now: read it again, and decide on that.`,
    );
  };
}

function isListed(tags: string, revision: bigint | 'no-stream'): boolean {
  if (revision === 'no-stream') return false;
  return tags.split(',').some((tag) => {
    const trimmed = tag.trim();
    return trimmed === '*' || trimmed === `"${revision.toString()}"`;
  });
}
