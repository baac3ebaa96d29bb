import type { Build } from './build.ts';
import type { EventStoreServer } from './event-store-server.ts';
import type { BenchServer } from './server.ts';

/** What is measured together: our code, its peer and its limit, in turn, on one server. */
export interface Row<In extends Setting = Setting> {
  readonly name: string;
  measure(setting: In): Promise<Report>;
}

export interface Setting {
  readonly server: BenchServer;
  readonly build: Build;
  readonly rounds: number;
  /** Small sizes, to see that everything runs: the numbers mean nothing. */
  readonly isQuick: boolean;
  /** Where CPU profiles of our processes go, if they are wanted. */
  readonly profileDir: string | undefined;
}

export interface EventStoreSetting extends Setting {
  readonly eventStore: EventStoreServer;
}

export interface Report {
  readonly lines: readonly Line[];
  /** What else was seen, and how to read it: printed below the table. */
  readonly notes: readonly string[];
  /** Everything that was measured, round by round: kept in the file of results. */
  readonly rounds: object;
}

/** One line of the table. */
export interface Line {
  readonly row: string;
  readonly ours: string;
  readonly peer?: string;
  readonly limit?: string;
  readonly ratios: string;
  readonly goal: string;
  readonly isMet: boolean;
}
