import type { AppendAnswer } from './appending.ts';

/** What is done to an append instead of answering it as it should be. */
export type AppendFault =
  | { readonly kind: 'lose-answer' }
  | { readonly kind: 'not-leader'; readonly host: string; readonly port: number }
  | { readonly kind: 'deadline-exceeded'; readonly isStored: boolean }
  | { readonly kind: 'not-ready' }
  | { readonly kind: 'unavailable' };

type Dropped = Extract<AppendAnswer, { outcome: 'dropped' }>;

export type AnswerOrFault =
  Exclude<AppendAnswer, Dropped> | { readonly outcome: 'fault'; readonly fault: AppendFault };

export class Faults {
  #appendFaults: AppendFault[] = [];
  #isStalled = false;
  #waiting: (() => void)[] = [];

  forNextAppends(count: number, fault: AppendFault): void {
    for (let added = 0; added < count; added += 1) this.#appendFaults.push(fault);
  }

  /** With the fault that is next, if there is one. */
  append(work: () => AppendAnswer): AnswerOrFault | Dropped {
    const fault = this.#appendFaults.shift();
    if (fault === undefined) return work();
    if (fault.kind === 'lose-answer' || (fault.kind === 'deadline-exceeded' && fault.isStored)) {
      const answer = work();
      // A refused append has nothing to lose: it is answered, and the fault waits for the next.
      if (answer.outcome !== 'stored') {
        this.#appendFaults.unshift(fault);
        return answer;
      }
    }
    return { outcome: 'fault', fault };
  }

  stall(): void {
    this.#isStalled = true;
  }

  /** Does what came meanwhile, in the order in which it came. */
  resume(): void {
    this.#isStalled = false;
    for (const work of this.#waiting.splice(0)) work();
  }

  forget(): void {
    this.#isStalled = false;
    this.#waiting = [];
    this.#appendFaults = [];
  }

  whenNotStalled(work: () => void): void {
    if (this.#isStalled) this.#waiting.push(work);
    else work();
  }
}
