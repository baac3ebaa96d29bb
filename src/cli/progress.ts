import type { Pace } from '../projections/engine/administration-json.ts';
import { openBar } from './bar.ts';

export interface Progress {
  show(pace: Pace): void;
  /** Leaves nothing of it on the screen. */
  end(): void;
}

/** Nothing where stderr is no terminal. */
export function showProgress(title: string): Progress {
  const bar = openBar(`${title} {bar} {percent} %  {rate} events/s  {left}`);
  if (bar === undefined) return { show: () => undefined, end: () => undefined };
  bar.start(100, 0, { percent: '0.0', rate: '-', left: '' });
  return {
    show({ percent, eventsPerSecond, secondsLeft }) {
      bar.update(percent, {
        percent: percent.toFixed(1),
        rate: Math.round(eventsPerSecond).toLocaleString('en'),
        left: secondsLeft === null ? '' : `${duration(secondsLeft)} left`,
      });
    },
    end: () => bar.stop(),
  };
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
