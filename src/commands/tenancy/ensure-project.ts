import { randomUUID } from 'node:crypto';
import type { Clock } from '../../shared/clock.ts';
import { LedgerError } from '../../shared/errors.ts';
import { randomEntropy } from '../../shared/ids.ts';
import type { CommandHandler } from '../core/handler.ts';
import { mintKey } from './api-keys.ts';
import { projectDecider, projectStream } from './project-decider.ts';

/**
 * Makes a project that a setting or an option names, when it is missing. Its owner is called `owner`; nobody
 * sees that one's first key: `keys issue --project <id> --member owner` gives another.
 */
export async function ensureProject(
  handler: CommandHandler,
  projectId: string,
  actor: string,
  clock: Clock,
): Promise<void> {
  const stream = projectStream(projectId);
  const { state } = await handler.peek(projectDecider, stream, 0);
  if (state.situation === 'created') return;
  const now = clock();
  const { newKey: key } = mintKey('mem', randomEntropy(), now);
  const create = {
    type: 'create',
    projectId,
    name: projectId,
    createdAt: now.toISOString(),
    owner: { memberId: 'owner', name: 'Owner', key },
  } as const;
  const context = { projectId, actor, correlationId: randomUUID() };
  await handler.execute(projectDecider, stream, create, context).catch((error: unknown) => {
    // Another process was faster.
    if (!(error instanceof LedgerError) || error.code !== 'project-exists') throw error;
  });
}
