import type { InstallationEvent } from '../../events/tenancy.ts';
import {
  INSTALLATION_PROJECT,
  streamName,
  type StreamName,
} from '../../event-store/stream-name.ts';
import type { Decider } from '../core/decider.ts';
import {
  foldKey,
  issueKey,
  keyIssued,
  revokeKey,
  sizeOfKeys,
  type KeySet,
  type NewKey,
} from './key-set.ts';

/** The installation, with its admin keys. */
export interface InstallationState {
  readonly keys: KeySet;
}

export type InstallationCommand =
  | { readonly type: 'issue-key'; readonly key: NewKey }
  /** Only when there has never been one, so that a first start on two machines issues one key. */
  | { readonly type: 'issue-first-key'; readonly key: NewKey }
  | { readonly type: 'revoke-key'; readonly keyId: string };

const INSTALLATION = 'installation';

export const installationDecider: Decider<
  InstallationState,
  InstallationCommand,
  InstallationEvent
> = {
  fold: 'installation:2',
  initialState: { keys: {} },
  decide({ keys }, command) {
    switch (command.type) {
      case 'issue-first-key':
        if (Object.keys(keys).length > 0) return [];
        return [keyIssued('adm', INSTALLATION, command.key)];
      case 'issue-key':
        return issueKey('adm', keys, INSTALLATION, command.key);
      case 'revoke-key':
        return revokeKey('adm', keys, command.keyId);
    }
  },
  evolve: (state, event) => ({ keys: foldKey(state.keys, event) }),
  sizeOf: sizeOfKeys,
};

export function installationStream(): StreamName {
  return streamName('installation', INSTALLATION_PROJECT, INSTALLATION);
}
