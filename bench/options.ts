import { parseArgs } from 'node:util';

export interface Options {
  /** Undefined: all. */
  readonly only: readonly string[] | undefined;
  readonly rounds: number;
  readonly isQuick: boolean;
  readonly isProfiled: boolean;
  /** Names the file of results. */
  readonly name: string;
}

const DEFAULT_ROUNDS = 5;
const QUICK_ROUNDS = 2;

export const USAGE = `npm run bench -- [--only <row>]… [--rounds <n>] [--quick] [--profile]
                 [--name <name>]

  --only     measure this row alone; may be repeated
  --rounds   how often each contestant is measured (${DEFAULT_ROUNDS})
  --quick    small sizes, to see that everything runs: the numbers mean nothing
  --profile  keep CPU profiles of our processes in bench/results: they slow down what is measured
  --name     of the file bench/results/<name>.json (the time of the run)

EVENTSTORE_URL adds the rows on EventStoreDB: the connection string of a server, which is left with
some hundred thousand events more, or "stand-in" for the one of the tests, to see that they run.
`;

/** Throws a TypeError that says what is wrong. */
export function parseOptions(args: readonly string[], rowNames: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', multiple: true },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      profile: { type: 'boolean', default: false },
      name: { type: 'string' },
    },
  });
  const rounds = Number(values.rounds ?? (values.quick ? QUICK_ROUNDS : DEFAULT_ROUNDS));
  if (!Number.isInteger(rounds) || rounds < 1) throw new TypeError('--rounds must be 1 or more');
  for (const name of values.only ?? []) {
    if (!rowNames.includes(name)) {
      throw new TypeError(`--only must be one of ${rowNames.join(', ')}`);
    }
  }
  const time = new Date().toISOString().slice(0, 19).replaceAll(':', '-');
  return {
    only: values.only,
    rounds,
    isQuick: values.quick,
    isProfiled: values.profile,
    name: values.name ?? (values.quick ? `${time}-quick` : time),
  };
}
