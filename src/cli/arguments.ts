import { InvalidArgumentError } from 'commander';
import { PROJECT_ID, PROJECT_ID_RULE } from '../shared/ids.ts';

/** The id of a project. */
export function projectId(text: string): string {
  if (PROJECT_ID.test(text)) return text;
  throw new InvalidArgumentError(`It ${PROJECT_ID_RULE}.`);
}

export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number, ${min} to ${max}.`);
  };
}

/** 0 to 1 */
export function rate(text: string): number {
  const number = /^(\d+(\.\d*)?|\.\d+)$/.test(text) ? Number(text) : NaN;
  if (!(number <= 1)) throw new InvalidArgumentError('Give a rate, 0 to 1.');
  return number;
}
