import type { DomainEvent } from '../../events/event.ts';

/**
 * The one idea of the write side: what happens is decided from what has happened. Pure: no clock,
 * no randomness, no I/O; time and ids enter in the command. The same command against the state that
 * it produced decides nothing. `decide` throws LedgerError to refuse.
 */
export interface Decider<State, Command, Event extends DomainEvent> {
  readonly initialState: State;
  decide(state: State, command: Command): readonly Event[];
  evolve(state: State, event: Event): State;
  /** Names the fold, with its version: a snapshot of another one is not read. */
  readonly fold: `${string}:${number}`;
  /**
   * Events say more once they are recorded: what was decided is not kept as the state, but read
   * again.
   */
  readonly isTimedByLog?: boolean;
  /**
   * Callers need the revision of a command that has run before, not the state that it left: its
   * stream, which may be long, is not folded again for that.
   */
  readonly isAnsweredByRevision?: boolean;
  /** About how much memory a state takes, in bytes. */
  sizeOf(state: State): number;
}
