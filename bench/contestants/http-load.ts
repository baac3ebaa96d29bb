import { runChild } from '../child.ts';

export interface HttpLoad {
  readonly url: string;
  readonly key: string;
  /** What is sent: patches of 1,000 sensors, or firmware reports of the device whose key it is. */
  readonly kind: 'patch' | 'firmware';
  readonly requests: number;
  /** Where the values of this run begin: no other run may have sent them. */
  readonly firstValue: number;
}

export interface HttpLoadResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** When the last answer came (epoch, in ms). */
  readonly endedAt: number;
}

/** 64 keep-alive connections, from a process of their own. */
export function httpLoad(load: HttpLoad): Promise<HttpLoadResult> {
  return runChild(new URL('http-load-child.ts', import.meta.url), {
    args: [JSON.stringify(load)],
  });
}
