import { useNavigate, useSearch } from '@tanstack/react-router';
import { isPosition, ownTimeZone, useMoment } from '../../time/moment.ts';

export type Kind = 'org' | 'sim';

export interface Range {
  readonly by: Kind;
  /** Undefined: all of them, in all. */
  readonly id: string | undefined;
  /** Days, the last one included. */
  readonly from: string;
  readonly to: string;
  readonly every: string;
  readonly zone: string;
}

const DAYS = 30;
const DAY_MS = 86_400_000;

/** What is asked for: from the address, so that a link shows the same. */
export function useRange(): Range {
  const search = useSearch({ strict: false });
  const at = useMoment();
  const zone = search.zone ?? ownTimeZone();
  const end = at === undefined || isPosition(at) ? new Date() : new Date(at);
  const by = search.by === 'sim' ? 'sim' : 'org';
  return {
    by,
    id: search.id,
    from: search.from ?? dayOf(new Date(end.getTime() - (DAYS - 1) * DAY_MS), zone),
    to: search.to ?? dayOf(end, zone),
    every: search.every ?? '1day',
    zone,
  };
}

type Change = { [Name in keyof Range]?: Range[Name] | undefined };

export function useSetRange(): (change: Change) => void {
  const navigate = useNavigate();
  return (change) =>
    void navigate({ to: '.', search: (search) => ({ ...search, ...change }), replace: true });
}

/** `2026-11-27` in a time zone. */
function dayOf(time: Date, zone: string): string {
  return new Intl.DateTimeFormat('sv-SE', { dateStyle: 'short', timeZone: zone }).format(time);
}

/** The query of a read by buckets. A bucket counts when it begins on the last day or before. */
export function bucketQuery({ from, to, every, zone }: Range) {
  const end = every.includes('hour') ? `${to}T23:00:00` : to;
  return {
    start: from,
    end,
    every,
    time_zone: zone,
    fill: 'zero' as const,
  };
}

/** How far a zone is from UTC, in minutes. */
function offsetMinutes(time: Date, zone: string): number {
  const parts = new Intl.DateTimeFormat('en', {
    timeZone: zone,
    timeZoneName: 'longOffset',
  }).formatToParts(time);
  const text = parts.find(({ type }) => type === 'timeZoneName')?.value ?? '';
  const [, sign = '+', hours = '0', minutes = '0'] = /GMT([+-])(\d+):(\d+)/.exec(text) ?? [];
  return (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes));
}

/** Said of a day on which the clocks change: it has 23 or 25 hours. */
export function clockChange(start: string, zone: string): string | undefined {
  const time = new Date(start);
  const before = offsetMinutes(time, zone);
  const after = offsetMinutes(new Date(time.getTime() + DAY_MS), zone);
  if (before === after) return undefined;
  return after > before ? 'clocks go forward' : 'clocks go back';
}
