import createClient from 'openapi-fetch';
import { noteLost } from './connection.ts';
import { heldKeys, noteRevoked, type Scope } from './keys.ts';
import type { paths } from './openapi.d.ts';

/** Relative to the page's <base>, so that it also holds below a sub-path. */
export const API_URL = new URL('../api/v1', document.baseURI).href;

/** An error as the service describes it (RFC 9457), or the lack of any answer. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly correlationId: string | undefined;
  readonly fields: readonly { path: string; message: string }[];

  constructor(status: number, problem: Problem) {
    super(problem.detail ?? 'The service does not answer.');
    this.status = status;
    this.code = problem.code ?? 'no-answer';
    this.title = problem.title ?? 'No answer';
    this.correlationId = problem.correlation_id;
    this.fields = problem.errors ?? [];
  }
}

interface Problem {
  readonly title?: string;
  readonly detail?: string;
  readonly code?: string;
  readonly correlation_id?: string;
  readonly errors?: readonly { path: string; message: string }[];
}

/** Calls of the API with the key of a project, and with that of an admin. */
export const projectApi = clientFor('project');
export const adminApi = clientFor('admin');

function clientFor(scope: Scope): ReturnType<typeof createClient<paths>> {
  const client = createClient<paths>({ baseUrl: API_URL, fetch: answered });
  client.use({
    onRequest({ request }) {
      const key = heldKeys()[scope]?.key;
      if (key !== undefined) request.headers.set('Authorization', `Bearer ${key}`);
      return request;
    },
    async onResponse({ response }) {
      if (response.ok) return response;
      if (response.status === 401) noteRevoked(scope);
      throw new ApiError(response.status, await problemOf(response));
    },
  });
  return client;
}

export function authorization(scope: Scope): { Authorization: string } {
  return { Authorization: `Bearer ${heldKeys()[scope]?.key ?? ''}` };
}

/** Errors of the browser's own mean that nothing answered; what a view cancels is no error. */
export async function answered(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    if (request.signal.aborted) throw error;
    noteLost();
    throw new ApiError(0, {});
  }
}

export async function problemOf(response: Response): Promise<Problem> {
  try {
    return (await response.json()) as Problem;
  } catch {
    return { title: response.statusText, detail: `The answer has the status ${response.status}.` };
  }
}

/** The body of an answer: an answer without one is an error of the service. */
export async function bodyOf<Body>(answer: Promise<{ data?: Body }>): Promise<Body> {
  const { data } = await answer;
  if (data === undefined) throw new ApiError(200, { detail: 'The answer is empty.' });
  return data;
}
