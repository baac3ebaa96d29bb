import type { DedupStrategy } from '../../events/state.ts';
import { sha256 } from '../../shared/ids.ts';
import { canonicalJson, type JsonObject } from '../../shared/json.ts';
import { isWithoutEffect } from '../../shared/merge-patch.ts';

/** What telling a repetition needs to know of a sensor. */
export interface SensorMemory {
  /** Undefined before the first patch. */
  readonly current: JsonObject | undefined;
  readonly lastSequence: number | undefined;
  /** Patches taken under the strategy `window`, as long as theirs lasts; oldest first. */
  readonly recent: readonly RecentPatch[];
}

export interface RecentPatch {
  readonly digest: string;
  readonly receivedAtMs: number;
}

export interface IncomingPatch {
  readonly patch: JsonObject;
  readonly messageId?: string;
  readonly sequence?: number;
  readonly receivedAt: Date;
}

type Verdict = 'fresh' | 'duplicate' | 'stale';

/** A dedup strategy, one for each name. A patch without what a strategy goes by is fresh to it. */
type DedupRule = (sensor: SensorMemory, incoming: IncomingPatch) => Verdict;

export function dedupRule(strategy: DedupStrategy): DedupRule {
  switch (strategy.strategy) {
    case 'unchanged':
      return ({ current }, { patch }) =>
        current !== undefined && isWithoutEffect(current, patch) ? 'duplicate' : 'fresh';
    case 'sequence':
      return ({ lastSequence }, { sequence }) => {
        if (sequence === undefined || lastSequence === undefined) return 'fresh';
        const ahead = distance(lastSequence, sequence, strategy.bits);
        if (ahead === 0) return 'duplicate';
        return ahead < 0 ? 'stale' : 'fresh';
      };
    case 'window':
      return ({ recent }, { patch, receivedAt }) => {
        const since = receivedAt.getTime() - strategy.seconds * 1_000;
        const digest = patchDigest(patch);
        const isRepeated = recent.some(
          (past) => past.digest === digest && past.receivedAtMs > since,
        );
        return isRepeated ? 'duplicate' : 'fresh';
      };
    // A message id is refused by the log, in the stream of its own that it claims
    // (message-claims.ts): no set of seen ids is held here, so none has to be bounded.
    case 'message-id':
    case 'none':
      return () => 'fresh';
  }
}

/**
 * How far one number is ahead of another. A counter of so many bits wraps: what is less than half
 * its range ahead is ahead, anything else is behind (RFC 1982).
 */
function distance(from: number, to: number, bits: number | undefined): number {
  if (bits === undefined) return to - from;
  const range = 2 ** bits;
  const ahead = (((to - from) % range) + range) % range;
  return ahead < range / 2 ? ahead : ahead - range;
}

/** A digest of what a patch says: the order of its keys does not count. */
export function patchDigest(patch: JsonObject): string {
  return sha256(canonicalJson(patch)).slice(0, 20);
}
