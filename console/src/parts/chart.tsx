import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import { formatTime } from '../time/moment.ts';

export interface Series {
  readonly label: string;
  /** One value for each time. */
  readonly values: readonly (number | null)[];
}

interface ChartProps {
  readonly label: string;
  /** In seconds. */
  readonly times: readonly number[];
  readonly series: readonly Series[];
  readonly isBars: boolean;
  readonly zone: string;
  readonly format: (value: number) => string;
  readonly onPick?: (index: number) => void;
}

const HEIGHT = 280;
const AXIS_WIDTH = 74;
const SERIES_COLORS = 6;

/**
 * Values over time. uPlot is made for exactly that: it draws 20,000 buckets at once, knows time
 * zones, and is a tenth of the size of general chart libraries. A table beside it says the same in
 * text.
 */
export function Chart({ label, times, series, isBars, zone, format, onPick }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const pick = useRef(onPick);
  pick.current = onPick;
  useEffect(() => {
    const element = place.current;
    if (element === null) return undefined;
    const options = optionsFor(element, { series, isBars, zone, format });
    const values = series.map((one) => [...one.values]);
    const chart = new uPlot(options, [[...times], ...values], element);
    chart.over.addEventListener('click', () => {
      const { idx } = chart.cursor;
      if (idx !== null && idx !== undefined) pick.current?.(idx);
    });
    const resized = new ResizeObserver(() => {
      chart.setSize({ width: element.clientWidth, height: HEIGHT });
    });
    resized.observe(element);
    return () => {
      resized.disconnect();
      chart.destroy();
    };
  }, [times, series, isBars, zone, format]);
  return (
    <div
      ref={place}
      className={`chart ${series.length === 1 ? 'single' : ''}`}
      role="img"
      aria-label={label}
    />
  );
}

type Drawn = Pick<ChartProps, 'series' | 'isBars' | 'zone' | 'format'>;

function optionsFor(element: HTMLElement, drawn: Drawn): uPlot.Options {
  const { series, isBars, zone, format } = drawn;
  const color = (name: string): string => resolvedColor(element, name);
  const bars = uPlot.paths.bars?.({ size: [0.8, 60] });
  const axis = {
    stroke: color('--text-soft'),
    grid: { stroke: color('--line'), width: 1 },
    ticks: { stroke: color('--line'), width: 1 },
    font: '12px system-ui, sans-serif',
  };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), zone),
    scales: {
      x: { time: true, range: padded(isBars) },
      y: { range: (_chart, _least, most) => [0, most * 1.08 || 1] },
    },
    axes: [
      { ...axis, values: timesIn(zone) },
      {
        ...axis,
        size: AXIS_WIDTH,
        values: (_chart: uPlot, ticks: number[]) => ticks.map(format),
      },
    ],
    series: [
      { label: 'Begins', value: (_chart, seconds: number | null) => timeIn(zone, seconds) },
      ...series.map(({ label }, index) => ({
        label,
        stroke: color(`--series-${(index % SERIES_COLORS) + 1}`),
        width: 2,
        points: { show: false },
        ...(isBars && { fill: color(`--series-${(index % SERIES_COLORS) + 1}`) }),
        ...(isBars && bars !== undefined && { paths: bars }),
        value: (_chart: uPlot, value: number | null) => (value === null ? '–' : format(value)),
      })),
    ],
  };
}

const DAY_SECONDS = 86_400;

/** Room for the first and the last bar, which stand on the ends of the axis. */
function padded(isBars: boolean): (chart: uPlot, least: number, most: number) => [number, number] {
  return (chart, least, most) => {
    const count = chart.data[0].length;
    const step = count > 1 ? (most - least) / (count - 1) : DAY_SECONDS;
    return isBars ? [least - step / 2, most + step / 2] : [least, most];
  };
}

/** Days where the ticks are days apart, else hours, as they are in the zone. */
function timesIn(zone: string) {
  return (_chart: uPlot, ticks: number[], _axis: number, _space: number, step: number): string[] =>
    ticks.map((seconds) =>
      new Intl.DateTimeFormat('en-GB', {
        timeZone: zone,
        ...(step >= DAY_SECONDS
          ? { day: 'numeric', month: 'short' }
          : { day: 'numeric', hour: '2-digit', minute: '2-digit' }),
      }).format(seconds * 1_000),
    );
}

function timeIn(zone: string, seconds: number | null): string {
  return seconds === null ? '' : formatTime(new Date(seconds * 1_000).toISOString(), zone);
}

/** A canvas knows no custom properties. */
function resolvedColor(element: HTMLElement, name: string): string {
  element.style.color = `var(${name})`;
  const { color } = getComputedStyle(element);
  element.style.color = '';
  return color;
}
