import { runChild } from '../child.ts';

export interface PatchLoad {
  readonly url: string;
  readonly key: string;
  readonly requests: number;
  /** Where the values of this run begin: no other run may have sent them. */
  readonly firstValue: number;
}

export interface PatchLoadResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** When the last answer came (epoch, in ms). */
  readonly endedAt: number;
}

/** 64 keep-alive connections patch 1,000 sensors, from a process of their own. */
export function patchLoad(load: PatchLoad): Promise<PatchLoadResult> {
  return runChild(new URL('patch-load-child.ts', import.meta.url), {
    args: [JSON.stringify(load)],
  });
}
