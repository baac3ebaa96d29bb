import { useNavigate, useSearch } from '@tanstack/react-router';

/**
 * The moment that the whole console shows: a time or a position of the log, as `as_of` takes it.
 * It is part of the URL, so a link shows a colleague the same. Undefined is now.
 */
export type Moment = string | undefined;

export function useMoment(): Moment {
  return useSearch({ strict: false, select: (search) => search.at });
}

/** Goes to another moment, and stays at the view. */
export function useGoTo(): (at: Moment) => void {
  const navigate = useNavigate();
  return (at) => void navigate({ to: '.', search: (search) => ({ ...search, at }) });
}

const POSITION = /^[0-9a-f]{8}-\d+$/;

export function isPosition(text: string): boolean {
  return POSITION.test(text);
}

/** What was typed, as `as_of` takes it; undefined where it is neither a time nor a position. */
export function parseMoment(text: string): Moment {
  const typed = text.trim();
  if (isPosition(typed)) return typed;
  const time = new Date(typed);
  return typed === '' || Number.isNaN(time.getTime()) ? undefined : time.toISOString();
}

export function describeMoment(at: string): string {
  return isPosition(at) ? `position ${at}` : formatTime(at);
}

/** `2026-11-27 14:05:09`, in the browser's own time zone. */
export function formatTime(text: string, zone?: string): string {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  return new Intl.DateTimeFormat('sv-SE', {
    dateStyle: 'short',
    timeStyle: 'medium',
    ...(zone !== undefined && { timeZone: zone }),
  }).format(time);
}

const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 31_536_000],
  ['month', 2_592_000],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'always', style: 'narrow' });

/** `3 days ago`, as of `now` in milliseconds. */
export function formatAge(text: string, now = Date.now()): string {
  const seconds = (new Date(text).getTime() - now) / 1_000;
  if (Math.abs(seconds) < 1) return 'just now';
  const [unit, length] =
    UNITS.find(([, candidate]) => Math.abs(seconds) >= candidate) ?? (['second', 1] as const);
  return relative.format(Math.trunc(seconds / length), unit);
}

export function ownTimeZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}
