import { Router } from 'express';
import { errorTable, type ErrorCode } from '../shared/errors.ts';
import { page } from './page.ts';
import { problemType, statusOf } from './problem.ts';

/** What the `type` of a problem points to: the table of errors, and each of its entries. */
export function problemsRouter(): Router {
  const router = Router();
  const table = (Object.keys(errorTable) as ErrorCode[]).map((code) => ({
    type: problemType(code),
    code,
    status: statusOf[code],
    title: errorTable[code],
  }));
  page(router, '/problems', (_request, response) => {
    response.json({ items: table });
  });
  page(router, '/problems/:code', (request, response, next) => {
    const entry = table.find(({ code }) => code === request.params['code']);
    if (entry === undefined) next('route');
    else response.json(entry);
  });
  return router;
}
