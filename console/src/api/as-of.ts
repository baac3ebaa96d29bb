import type { Moment } from '../time/moment.ts';
import type { paths } from './openapi.d.ts';

/** Paths that are read. */
export type ReadPath = {
  [Path in keyof paths]: paths[Path] extends { get: object } ? Path : never;
}[keyof paths];

/** Those whose read takes `as_of`, as the OpenAPI document says. */
type TimedPath = {
  [Path in keyof paths]: paths[Path] extends {
    get: { parameters: { query?: infer Query } };
  }
    ? [NonNullable<Query>] extends [never]
      ? never
      : 'as_of' extends keyof NonNullable<Query>
        ? Path
        : never
    : never;
}[keyof paths];

/** The types require each of them here, and no other: a view learns of it with the API. */
const TIMED: Readonly<Record<TimedPath, true>> = {
  '/batch': true,
  '/batch/{id}': true,
  '/batch/{id}/attempts': true,
  '/batch/{id}/partitions': true,
  '/batch/{id}/partitions/{n}': true,
  '/batches': true,
  '/batches/{id}': true,
  '/batches/{id}/attempts': true,
  '/batches/{id}/partitions': true,
  '/batches/{id}/partitions/{n}': true,
  '/deveuis': true,
  '/deveuis/{deveui}': true,
  '/devices': true,
  '/devices/{id}': true,
  '/devices/{id}/firmware': true,
  '/devices/{id}/firmware/current': true,
  '/devices/{id}/timeline': true,
  '/firmware': true,
  '/firmware/versions': true,
  '/inventory': true,
  '/keys': true,
  '/members': true,
  '/organization/{id}/usage': true,
  '/projects': true,
  '/projects/{id}': true,
  '/sensors': true,
  '/sensors/{id}': true,
  '/sensors/{id}/history': true,
  '/simcard/{id}/usage': true,
  '/usage/organizations': true,
  '/usage/rejected': true,
  '/usage/simcards': true,
  '/webhooks': true,
  '/webhooks/{id}': true,
};

/** The parameter for the moment, where the read takes one. */
export function asOf<Path extends ReadPath>(path: Path, at: Moment): AsOf<Path> {
  // The compiler does not see that `isTimeless` tells the two kinds of path apart.
  return (at === undefined || isTimeless(path) ? {} : { as_of: at }) as AsOf<Path>;
}

type AsOf<Path> = Path extends TimedPath ? { as_of?: string } : { as_of?: never };

/** Whether a read only answers for now. */
export function isTimeless(path: ReadPath): boolean {
  return !Object.hasOwn(TIMED, path);
}
