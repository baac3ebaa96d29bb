import type { Logger } from '../../shared/logger.ts';
import type { Binaries } from './binaries.ts';
import type { ServiceUser } from './service-user.ts';

/** Where one cluster lives, and what runs it. All paths are absolute, without symbolic links. */
export interface ClusterPaths {
  readonly dataDir: string;
  readonly clusterDir: string;
  /** Mode 0600, of the owner of the data directory. */
  readonly passwordFile: string;
  /** Locked (flock) for as long as any process of this cluster lives. */
  readonly lockFile: string;
  readonly logFile: string;
  readonly binaries: Binaries;
  readonly user: ServiceUser;
  readonly password: string;
  readonly logger: Logger;
}
