import { runChild } from './child.ts';
import type { Backlog, BacklogResult } from './contestants/backlog-result.ts';
import type { Setting } from './row.ts';

export interface BacklogRun {
  readonly entry: URL;
  readonly args: (databaseUrl: string) => readonly string[];
  /** What the database of each round is a copy of; undefined: it is empty. */
  readonly template?: string;
  readonly profileDir?: string | undefined;
}

/** Children that work off a backlog, each in a fresh process on a fresh database. */
export interface BacklogRuns {
  /** Everything that was measured, by the name of the contestant. */
  readonly details: Record<string, BacklogResult[]>;
  /** A contestant, which gives its events per second. */
  enter(name: string, run: BacklogRun): () => Promise<number>;
}

export function backlogRuns({ server }: Setting): BacklogRuns {
  const details: Record<string, BacklogResult[]> = {};
  return {
    details,
    enter:
      (name, { entry, args, template, profileDir }) =>
      async () => {
        const url = await server.createDatabase('backlog_copy', template);
        await server.checkpoint();
        const result = await runChild<BacklogResult>(entry, { args: args(url), profileDir });
        await server.dropDatabase('backlog_copy');
        (details[name] ??= []).push(result);
        return (result.events * 1_000) / result.elapsedMs;
      },
  };
}

/** What a child process of ours is told. */
export function ofOurs(backlog: Omit<Backlog, 'databaseUrl'>): BacklogRun['args'] {
  return (databaseUrl) => [JSON.stringify({ databaseUrl, ...backlog } satisfies Backlog)];
}
