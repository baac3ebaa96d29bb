import { expect } from 'vitest';
import type { Decider } from '../../../src/commands/core/decider.ts';
import type { DomainEvent } from '../../../src/events/event.ts';
import { LedgerError, type ErrorCode } from '../../../src/shared/errors.ts';

/** What has happened; then what is asked; then what happens. */
export function given<State, Command, Event extends DomainEvent>(
  decider: Decider<State, Command, Event>,
  events: readonly Event[],
): { readonly state: State; when(command: Command): Outcome<State, Event> } {
  const state = events.reduce(
    (before, event) => decider.evolve(before, event),
    decider.initialState,
  );
  return {
    state,
    when(command) {
      const stateBefore = JSON.stringify(state);
      let decided: readonly Event[] = [];
      let refusal: unknown;
      try {
        decided = decider.decide(state, command);
      } catch (error) {
        refusal = error;
      }
      expect(JSON.stringify(state), 'a decision changed the state it was made on').toBe(
        stateBefore,
      );
      return new Outcome(decider, state, decided, refusal);
    },
  };
}

export class Outcome<State, Event extends DomainEvent> {
  readonly #decider: Decider<State, never, Event>;
  readonly #before: State;
  readonly #decided: readonly Event[];
  readonly #refusal: unknown;

  constructor(
    decider: Decider<State, never, Event>,
    before: State,
    decided: readonly Event[],
    refusal: unknown,
  ) {
    this.#decider = decider;
    this.#before = before;
    this.#decided = decided;
    this.#refusal = refusal;
  }

  /** The events, when the command was not refused. */
  get events(): readonly Event[] {
    if (this.#refusal !== undefined) throw this.#refusal;
    return this.#decided;
  }

  /** The state that the events lead to. */
  get state(): State {
    return this.events.reduce((state, event) => this.#decider.evolve(state, event), this.#before);
  }

  thenEvents(...expected: readonly Event[]): void {
    expect(this.events).toStrictEqual(expected);
  }

  thenNothing(): void {
    expect(this.events).toEqual([]);
  }

  thenRefused(code: ErrorCode): void {
    expect(this.#refusal).toBeInstanceOf(LedgerError);
    expect(this.#refusal).toMatchObject({ code });
  }
}
