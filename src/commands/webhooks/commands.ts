import type { WebhookEndpoint } from '../../events/webhooks.ts';
import type { Position } from '../../event-store/port.ts';
import { streamName, type StreamName } from '../../event-store/stream-name.ts';
import type { Entropy } from '../../shared/ids.ts';
import { shortId } from '../../shared/ids.ts';
import type { CommandParts } from '../core/command-parts.ts';
import type { CommandContext } from '../core/context.ts';
import type { CommandHandler, Handled } from '../core/handler.ts';
import { notFound, own } from '../tenancy/key-set.ts';
import {
  webhooksDecider,
  type Webhook,
  type WebhookCommand,
  type WebhooksState,
} from './decider.ts';
import { webhookSecret } from './secrets.ts';

export type { Webhook };

/** A webhook as a command left it. */
export interface Commanded {
  readonly webhookId: string;
  readonly webhook: Webhook;
  readonly position: Position;
}

/** With the secret that is shown this once, and to whoever repeats the request. */
export interface CommandedWithSecret extends Commanded {
  readonly secret: string;
}

/** What makes the random parts of a request, the same again when it is repeated. */
interface RequestRun {
  readonly now: Date;
  readonly entropy: Entropy;
}

export class WebhookCommands {
  readonly #handler: CommandHandler;
  readonly #installationSecret: Buffer;

  constructor({
    handler,
    installationSecret,
  }: Pick<CommandParts, 'handler' | 'installationSecret'>) {
    this.#handler = handler;
    this.#installationSecret = installationSecret;
  }

  /**
   * `startsAfter`: the position, as text, after which the events begin that are sent; null: now.
   * @throws LedgerError `too-many-webhooks`
   */
  async create(
    webhook: WebhookEndpoint & { readonly startsAfter: string | null },
    { now, entropy }: RequestRun,
    context: CommandContext,
  ): Promise<CommandedWithSecret> {
    const webhookId = shortId(entropy('webhook', 12));
    const salt = mintSalt(entropy);
    const createdAt = now.toISOString();
    const command = { type: 'create', webhookId, salt, createdAt, ...webhook } as const;
    return this.#withSecret(await this.#execute(command, context), salt, context);
  }

  /** @throws LedgerError `not-found`, `webhook-ended` */
  change(
    webhookId: string,
    changes: Partial<WebhookEndpoint>,
    context: CommandContext,
  ): Promise<Commanded> {
    return this.#execute({ type: 'change', webhookId, changes }, context);
  }

  /**
   * A new secret; the one before it signs beside it for `overlapMs`.
   * @throws LedgerError `not-found`, `webhook-ended`
   */
  async rotateSecret(
    webhookId: string,
    overlapMs: number,
    { now, entropy }: RequestRun,
    context: CommandContext,
  ): Promise<CommandedWithSecret> {
    const salt = mintSalt(entropy);
    const previousUntil = new Date(now.getTime() + overlapMs).toISOString();
    const command = { type: 'rotate-secret', webhookId, salt, previousUntil } as const;
    return this.#withSecret(await this.#execute(command, context), salt, context);
  }

  /** @throws LedgerError `not-found`, `webhook-ended` */
  resume(webhookId: string, context: CommandContext): Promise<Commanded> {
    return this.#execute({ type: 'resume', webhookId }, context);
  }

  /** @throws LedgerError `not-found`, `webhook-ended` */
  replay(
    webhookId: string,
    startsAfter: string | null,
    { entropy }: RequestRun,
    context: CommandContext,
  ): Promise<Commanded> {
    const replayId = shortId(entropy('replay', 12));
    return this.#execute({ type: 'replay', webhookId, replayId, startsAfter }, context);
  }

  /** @throws LedgerError `not-found` */
  async delete(webhookId: string, context: CommandContext): Promise<{ position: Position }> {
    const { position } = await this.#handle({ type: 'delete', webhookId }, context);
    return { position };
  }

  /**
   * What the deliverer found. It changes nothing where that is no longer so, or the webhook is
   * gone.
   */
  async stop(
    command: Extract<WebhookCommand, { type: 'fail' | 'end' }>,
    context: CommandContext,
  ): Promise<void> {
    await this.#handle(command, context);
  }

  /**
   * What signs the messages of a webhook now: its newest secret, and an earlier one while they
   * rotate.
   */
  secretsOf(
    { projectId, webhookId }: { readonly projectId: string; readonly webhookId: string },
    { salts }: Webhook,
    now: Date,
  ): readonly string[] {
    return salts
      .filter(({ until }) => until === null || new Date(until) > now)
      .map(({ salt }) => this.#secretOf(projectId, webhookId, salt));
  }

  async #execute(command: WebhookCommand, context: CommandContext): Promise<Commanded> {
    const { webhookId } = command;
    const { state, position } = await this.#handle(command, context);
    const webhook = own(state.webhooks, webhookId);
    if (webhook === undefined) throw notFound();
    return { webhookId, webhook, position };
  }

  #handle(command: WebhookCommand, context: CommandContext): Promise<Handled<WebhooksState>> {
    const stream = webhooksStream(context.projectId);
    return this.#handler.execute(webhooksDecider, stream, command, context);
  }

  #withSecret(
    commanded: Commanded,
    salt: string,
    { projectId }: CommandContext,
  ): CommandedWithSecret {
    return { ...commanded, secret: this.#secretOf(projectId, commanded.webhookId, salt) };
  }

  #secretOf(projectId: string, webhookId: string, salt: string): string {
    return webhookSecret(this.#installationSecret, { projectId, webhookId, salt });
  }
}

function mintSalt(entropy: Entropy): string {
  return entropy('webhook-salt', 24).toString('hex');
}

function webhooksStream(projectId: string): StreamName {
  return streamName('webhook', projectId, 'project');
}
