import { Router, type Request } from 'express';
import { errorTable, type ErrorCode } from '../shared/errors.ts';
import { forwardedPrefix } from './forwarded-prefix.ts';
import { page } from './page.ts';
import { problemType, statusOf } from './problem.ts';

/** What the `type` of a problem points to: the table of errors, and each of its entries. */
export function problemsRouter(): Router {
  const router = Router();
  const codes = Object.keys(errorTable) as ErrorCode[];
  const entry = (code: ErrorCode, request: Request) => ({
    type: forwardedPrefix(request) + problemType(code),
    code,
    status: statusOf[code],
    title: errorTable[code],
  });
  page(router, '/problems', (request, response) => {
    response.vary('X-Forwarded-Prefix').json({ items: codes.map((code) => entry(code, request)) });
  });
  page(router, '/problems/:code', (request, response, next) => {
    const code = codes.find((known) => known === request.params['code']);
    if (code === undefined) next('route');
    else response.vary('X-Forwarded-Prefix').json(entry(code, request));
  });
  return router;
}
