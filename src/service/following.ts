import { Positions } from '../event-store/positions.ts';
import { Followers } from '../followers/followers.ts';
import { OpenStreams } from '../followers/open-streams.ts';
import type { Ledger } from './ledger.ts';

/** What passes events on in this process: one reading of the log for all followers. */
export interface Following {
  readonly followers: Followers;
  readonly streams: OpenStreams;
}

export function openFollowing({ store }: Ledger, draining: AbortSignal): Following {
  const positions = new Positions(store);
  return {
    followers: new Followers(store, (position) => positions.format(position)),
    streams: new OpenStreams({ draining }),
  };
}
