export function perSecond(rate: number): string {
  return `${(rate < 1_000 ? Math.round(rate) : Math.round(rate / 10) * 10).toLocaleString('en')}/s`;
}

export function milliseconds(ms: number): string {
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(1)} ms`;
}

/** A difference. */
export function addedMilliseconds(ms: number): string {
  return `${ms < 0 ? '-' : '+'}${milliseconds(Math.abs(ms))}`;
}

export function times(ratio: number): string {
  return `${ratio.toFixed(ratio < 3 ? 2 : 1)}x`;
}

export function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(0)} %`;
}

export function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}
