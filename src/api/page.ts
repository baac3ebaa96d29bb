import type { RequestHandler, Router } from 'express';
import { LedgerError } from '../shared/errors.ts';

/** Answers GET and HEAD at a path, and refuses every other method there. */
export function page(router: Router, path: string, handler: RequestHandler): void {
  router
    .route(path)
    .get(handler)
    .all(refuseMethod(['GET']));
}

/** Refuses a method at a path where others are answered. HEAD is, wherever GET is. */
export function refuseMethod(answered: readonly string[]): RequestHandler {
  const methods = answered.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
  return (request, response) => {
    response.setHeader('Allow', methods.join(', '));
    const detail = `This path does not answer ${request.method}: use ${answered.join(' or ')}.`;
    throw new LedgerError('method-not-allowed', detail);
  };
}
