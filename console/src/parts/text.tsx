import { useEffect, useState, type ReactNode } from 'react';
import { formatAge, formatTime } from '../time/moment.ts';

/** A time in the browser's zone; pointing at it shows how long ago it was, and UTC. */
export function Time({ value, age = false }: { value: string | null | undefined; age?: boolean }) {
  if (value === null || value === undefined) return <span className="soft">never</span>;
  const title = `${formatAge(value)} · ${value}`;
  return (
    <time dateTime={value} title={title}>
      {age ? formatAge(value) : formatTime(value)}
    </time>
  );
}

const STATUS_TONE: Readonly<Record<string, 'good' | 'warn' | 'bad' | 'busy'>> = {
  live: 'good',
  Completed: 'good',
  completed: 'good',
  registered: 'good',
  active: 'good',
  owner: 'busy',
  Processing: 'busy',
  running: 'busy',
  in_flight: 'busy',
  paused: 'warn',
  Stopped: 'warn',
  unconfirmed: 'warn',
  conflicted: 'warn',
  cancelled: 'warn',
  downgraded: 'warn',
  behind: 'warn',
  stopped: 'bad',
  Failed: 'bad',
  failed: 'bad',
  failing: 'bad',
  revoked: 'bad',
};

export function Status({ value, children }: { value: string; children?: ReactNode }) {
  return (
    <span className={`tag ${STATUS_TONE[value] ?? ''}`}>{children ?? value.replace('_', ' ')}</span>
  );
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];

/** Sums beyond 2^53 come as strings. */
export function formatBytes(value: number | string | null): string {
  if (value === null) return '–';
  let rest = Number(value);
  let unit = 0;
  while (rest >= 1_000 && unit < UNITS.length - 1) {
    rest /= 1_000;
    unit += 1;
  }
  const digits = unit === 0 || rest >= 100 ? 0 : rest >= 10 ? 1 : 2;
  return `${rest.toFixed(digits)} ${UNITS[unit]}`;
}

const grouped = new Intl.NumberFormat('en');

export function formatNumber(value: number | string): string {
  return typeof value === 'string' ? grouped.format(BigInt(value)) : grouped.format(value);
}

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return undefined;
    const timer = setTimeout(() => setCopied(false), 1_500);
    return () => clearTimeout(timer);
  }, [isCopied]);
  const copy = (): void => {
    void navigator.clipboard.writeText(text).then(() => setCopied(true));
  };
  return (
    <button type="button" className="button small" onClick={copy}>
      {isCopied ? 'Copied' : label}
    </button>
  );
}

/** A command that is ready to paste. */
export function Snippet({ text }: { text: string }) {
  return (
    <div className="snippet">
      <pre tabIndex={0}>{text}</pre>
      <Copy text={text} />
    </div>
  );
}

export function Json({ value }: { value: unknown }) {
  return <pre tabIndex={0}>{JSON.stringify(value, null, 2)}</pre>;
}
