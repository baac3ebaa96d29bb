import { Popover } from 'radix-ui';
import { useState, type FormEvent } from 'react';
import { useConnection } from '../api/connection.ts';
import { usePollInterval } from '../api/live.ts';
import {
  describeMoment,
  formatTime,
  ownTimeZone,
  parseMoment,
  useGoTo,
  useMoment,
} from './moment.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Now, or the moment that every view shows. */
export function TimeControl() {
  const at = useMoment();
  const [isOpen, setOpen] = useState(false);
  return (
    <Popover.Root open={isOpen} onOpenChange={setOpen}>
      <Popover.Trigger className={`button time-button ${at === undefined ? '' : 'past'}`}>
        {at === undefined ? (
          <NowLabel />
        ) : (
          <>
            <span className="dot past" />
            As of {describeMoment(at)}
          </>
        )}
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content className="popover" align="end" sideOffset={6} aria-label="Moment">
          <MomentForm key={at ?? 'now'} onChosen={() => setOpen(false)} />
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}

function NowLabel() {
  const isLost = useConnection() === 'lost';
  const isPushed = usePollInterval() === false;
  const how = isPushed ? 'live' : 'read every 5 s';
  return (
    <>
      <span className={`dot ${isLost ? 'lost' : 'live'}`} />
      Now
      <span className="soft small">{isLost ? 'not connected' : how}</span>
    </>
  );
}

function MomentForm({ onChosen }: { onChosen: () => void }) {
  const at = useMoment();
  const goTo = useGoTo();
  const [text, setText] = useState(at === undefined ? '' : describeMomentToType(at));
  const [isRefused, setRefused] = useState(false);
  const choose = (moment: string | undefined): void => {
    goTo(moment);
    onChosen();
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const moment = parseMoment(text);
    if (moment === undefined) setRefused(true);
    else choose(moment);
  };
  return (
    <>
      <div className="row">
        <button type="button" className="button small" onClick={() => choose(undefined)}>
          Now
        </button>
        {presets().map(([name, time]) => (
          <button
            key={name}
            type="button"
            className="button small"
            onClick={() => choose(time.toISOString())}
          >
            {name}
          </button>
        ))}
      </div>
      <form className="stack" onSubmit={submit}>
        <label>
          Time in {ownTimeZone()}, or a position of the log
          <input
            value={text}
            placeholder={formatTime(new Date().toISOString())}
            spellCheck={false}
            aria-invalid={isRefused}
            onChange={(event) => {
              setText(event.target.value);
              setRefused(false);
            }}
          />
        </label>
        {isRefused && (
          <p role="alert" className="small">
            Write a time such as 2026-11-02 09:30, or a position such as 47c8c91f-186.
          </p>
        )}
        <button type="submit" className="button primary">
          Show this moment
        </button>
      </form>
      <p className="small soft">
        The moment is part of the address: a link shows others what you see.
      </p>
    </>
  );
}

function describeMomentToType(at: string): string {
  return describeMoment(at).replace(/^position /, '');
}

function presets(): [string, Date][] {
  const now = Date.now();
  const monday = new Date(now);
  monday.setHours(0, 0, 0, 0);
  monday.setDate(monday.getDate() - ((monday.getDay() + 6) % 7));
  return [
    ['1 hour ago', new Date(now - HOUR_MS)],
    ['Yesterday', new Date(now - DAY_MS)],
    ['Monday 00:00', monday],
    ['A week ago', new Date(now - 7 * DAY_MS)],
    ['30 days ago', new Date(now - 30 * DAY_MS)],
  ];
}
