import { Router } from 'express';

export type PartHealth =
  | { readonly status: 'ok'; readonly detail?: string }
  | { readonly status: 'failing'; readonly detail: string };

/**
 * By name, how to find out how a part is; made for each call, so that checks share what they read. A
 * check that throws is failing, with its message.
 */
export type HealthChecks = () => Readonly<Record<string, () => Promise<PartHealth>>>;

/** `/health/live`: the process answers. `/health/ready`: all that it needs does, too. */
export function healthRouter(checks: HealthChecks): Router {
  const router = Router();
  router.get('/health/live', (_request, response) => {
    response.json({ status: 'ok' });
  });
  router.get('/health/ready', async (_request, response) => {
    const parts = Object.fromEntries(
      await Promise.all(
        Object.entries(checks()).map(
          async ([name, check]) => [name, await outcomeOf(check)] as const,
        ),
      ),
    );
    const isOk = Object.values(parts).every(({ status }) => status === 'ok');
    response.status(isOk ? 200 : 503).json({ status: isOk ? 'ok' : 'failing', parts });
  });
  return router;
}

const CHECK_TIMEOUT_MS = 3_000;

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
    return { status: 'failing', detail: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
  }
}
