import { median } from './statistics.ts';

/** What each contestant measured, round by round. */
export type Rounds<Name extends string> = Record<Name, number[]>;

/**
 * Each contestant once a round, one after the other: what disturbs the machine for longer than a
 * turn disturbs all of them.
 */
export async function interleave<Name extends string>(
  count: number,
  contestants: Readonly<Record<Name, () => Promise<number>>>,
): Promise<Rounds<Name>> {
  const names = Object.keys(contestants) as Name[];
  const rounds = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Rounds<Name>;
  for (let round = 0; round < count; round++) {
    for (const name of names) rounds[name].push(await contestants[name]());
  }
  return rounds;
}

/** A first turn, which does not count, of contestants that live from round to round. */
export async function warmUp(
  contestants: Readonly<Record<string, () => Promise<unknown>>>,
): Promise<void> {
  for (const run of Object.values(contestants)) await run();
}

/** The median of each round's own ratio: both sides of it were measured within seconds. */
export function medianRatio(ours: readonly number[], others: readonly number[]): number {
  return median(ours.map((value, round) => value / (others[round] ?? Number.NaN)));
}

/** The contestant with the highest median: the one to be compared with. */
export function best<Name extends string>(rounds: Rounds<Name>, names: readonly Name[]): Name {
  const [first] = names.toSorted((a, b) => median(rounds[b]) - median(rounds[a]));
  if (first === undefined) throw new Error('there is no contestant');
  return first;
}
