import { Router, type Response } from 'express';
import { sharedResult } from '../shared/shared-result.ts';
import { page } from './page.ts';
import { errorMessage } from '../shared/errors.ts';

export type PartHealth =
  | { readonly status: 'ok'; readonly detail?: string }
  | { readonly status: 'failing'; readonly detail: string };

/** How to find out how each part is, by name. No check throws, and each answers within seconds. */
export type HealthChecks = Readonly<Record<string, () => Promise<PartHealth>>>;

export interface Health {
  /**
   * What this process cannot do its own roles without: whether requests are sent to it depends on
   * these.
   */
  readonly readiness: HealthChecks;
  /** Everything that somebody may want to be alerted about. */
  readonly everything: HealthChecks;
}

export function healthRouter(health: Health): Router {
  const router = Router();
  page(router, '/health/live', (_request, response) => {
    response.json({ status: 'ok' });
  });
  page(router, '/health/ready', (_request, response) => answer(response, health.readiness));
  page(router, '/health', (_request, response) => answer(response, health.everything));
  return router;
}

async function answer(response: Response, checks: HealthChecks): Promise<void> {
  const parts = Object.fromEntries(
    await Promise.all(
      Object.entries(checks).map(async ([name, check]) => [name, await check()] as const),
    ),
  );
  const isOk = Object.values(parts).every(({ status }) => status === 'ok');
  response.status(isOk ? 200 : 503).json({ status: isOk ? 'ok' : 'failing', parts });
}

const CHECK_TIMEOUT_MS = 3_000;
/**
 * How old the answers of health and metrics may be. Anybody may ask for them, as often as they
 * like.
 */
export const CHECK_FRESH_MS = 250;

/**
 * A check that asks its part once for everybody who asks at about the same time. One that throws is
 * failing, with its message; so is one that takes too long.
 */
export function sharedCheck(check: () => Promise<PartHealth>): () => Promise<PartHealth> {
  return sharedResult(() => outcomeOf(check), CHECK_FRESH_MS);
}

async function outcomeOf(check: () => Promise<PartHealth>): Promise<PartHealth> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<PartHealth>((resolve) => {
    timer = setTimeout(
      () => resolve({ status: 'failing', detail: `no answer within ${CHECK_TIMEOUT_MS} ms` }),
      CHECK_TIMEOUT_MS,
    );
  });
  try {
    return await Promise.race([check(), timeout]);
  } catch (error) {
    return { status: 'failing', detail: errorMessage(error) };
  } finally {
    clearTimeout(timer);
  }
}
