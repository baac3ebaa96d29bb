import type {
  IdempotentRequest,
  KeptAnswer,
  StreamedRun,
} from '../commands/core/idempotent-requests.ts';
import type { ReadModels } from '../projections/engine/reading/read-models.ts';
import { LedgerError } from '../shared/errors.ts';
import type { Entropy } from '../shared/ids.ts';
import type { Json } from '../shared/json.ts';
import type { AdmittedRequest } from './admitted-request.ts';
import { answerOf } from './api-request.ts';
import { newestOf } from './item-results.ts';
import { isTransientCode, problemHeaders, problemOf } from './problem.ts';
import { withoutKeys } from './redaction.ts';
import { digestOf, type DigestedBody } from './request-parts.ts';
import type { Answer, ApiRequest } from './route.ts';

/** What identifies a request among those with the same idempotency key. */
export function idempotentRequest(
  { route, request, sentQuery, caller, correlationId }: AdmittedRequest,
  idempotencyKey: string,
  body: DigestedBody,
): IdempotentRequest {
  return {
    projectId: caller.projectId,
    idempotencyKey,
    ...(caller.kind === 'device' && { deviceId: caller.deviceId }),
    requestDigest: digestOf(route, {
      params: request.params,
      query: sentQuery,
      caller,
      body,
    }),
    route: `${request.method} ${withoutKeys(request.path)}`,
    actor: caller.keyId,
    correlationId,
  };
}

/** A refusal is an answer, too, and is kept, unless it is transient. */
export async function keptAnswer(
  admitted: AdmittedRequest,
  apiRequest: ApiRequest<unknown, unknown, unknown>,
): Promise<KeptAnswer> {
  const { request, correlationId } = admitted;
  try {
    const answer = await answerOf(apiRequest, admitted);
    if (answer.isTransient === true) throw new TransientAnswer(answer, apiRequest.entropy);
    return {
      status: answer.status,
      headers: answer.headers ?? {},
      body: answer.body ?? null,
      shownKeys: answer.shownKeys ?? [],
      position: answer.position ?? null,
      isKeptByItem: answer.isKeptByItem ?? false,
    };
  } catch (error) {
    if (!(error instanceof LedgerError) || isTransientCode(error)) throw error;
    const problem = problemOf(error, withoutKeys(request.path), correlationId);
    return {
      status: problem.status,
      headers: problemHeaders(error),
      body: problem as unknown as Json,
      shownKeys: [],
      position: null,
    };
  }
}

/** An answer that is given, but not kept: what it says may be otherwise next time. */
export class TransientAnswer extends Error {
  override readonly name = 'TransientAnswer';
  readonly answer: Answer;
  /** The entropy of its run: the keys that it shows are those that were issued. */
  readonly entropy: Entropy;

  constructor(answer: Answer, entropy: Entropy) {
    super('this answer is not kept');
    this.answer = answer;
    this.entropy = entropy;
  }
}

/** Another process may have recorded the items: what is read here afterwards holds them, too. */
export function noting(run: StreamedRun, models: ReadModels, projectId: string): StreamedRun {
  const { results } = run;
  return {
    ...run,
    results: {
      nextPartSize: () => results.nextPartSize(),
      next: async (part, runItems) => {
        const outcomes = await results.next(part, runItems);
        const newest = newestOf(outcomes.flatMap(({ position }) => position ?? []));
        if (newest !== undefined) models.answered(newest, projectId);
        return outcomes;
      },
    },
  };
}
