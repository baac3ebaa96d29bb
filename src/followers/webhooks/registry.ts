import {
  webhooksDecider,
  type Webhook,
  type WebhooksState,
} from '../../commands/webhooks/decider.ts';
import {
  BEGINNING,
  type EventStore,
  type Position,
  type RecordedEvent,
  type SnapshotStore,
} from '../../event-store/port.ts';
import { formatPosition, isPositionText, parsePosition } from '../../event-store/position-text.ts';
import type { SharedFeed } from '../../event-store/shared-feed.ts';
import {
  INSTALLATION_PROJECT,
  parseStreamName,
  streamName,
} from '../../event-store/stream-name.ts';
import { webhooksContract, type WebhookEvent } from '../../events/webhooks.ts';
import type { JsonObject } from '../../shared/json.ts';

/** What names a webhook in the installation. */
export interface WebhookKey {
  readonly projectId: string;
  readonly webhookId: string;
}

/** A webhook as the log has it. */
export interface RegisteredWebhook extends WebhookKey {
  readonly webhook: Webhook;
  /**
   * After which position the events begin that are sent, and of which series of attempts that is.
   */
  readonly start: Start;
}

interface Start {
  readonly position: Position;
  readonly series: number;
}

const TYPES = webhooksContract.types;
/** What is kept holds the state of the decider, so another version of that is another of this. */
const FOLD = `webhook-registry:1:${webhooksDecider.fold}`;
/** Under which name it is kept. No stream of the log: it is folded from those of all projects. */
const KEPT_AS = streamName('webhook', INSTALLATION_PROJECT, 'registry');
const KEEP_INTERVAL_MS = 300_000;

interface Project {
  readonly state: WebhooksState;
  readonly starts: Readonly<Record<string, Start>>;
}

/**
 * The webhooks of all projects, folded from the log and kept as snapshots are (derived data, safe
 * to delete), so that a start reads what came since and not the whole log.
 */
export class WebhookRegistry {
  readonly #store: EventStore;
  readonly #feed: Pick<SharedFeed, 'subscribe'>;
  readonly #snapshots: SnapshotStore;
  readonly #projects = new Map<string, Project>();
  #position: Position = BEGINNING;
  /** Called whenever the position has moved. */
  readonly #waiting = new Set<() => void>();
  #keptAtMs = performance.now();

  constructor(store: EventStore, feed: Pick<SharedFeed, 'subscribe'>, snapshots: SnapshotStore) {
    this.#store = store;
    this.#feed = feed;
    this.#snapshots = snapshots;
  }

  get all(): RegisteredWebhook[] {
    return [...this.#projects].flatMap(([projectId, { state, starts }]) =>
      Object.entries(state.webhooks).map(([webhookId, webhook]) => ({
        projectId,
        webhookId,
        webhook,
        start: starts[webhookId] ?? { position: BEGINNING, series: 0 },
      })),
    );
  }

  find({ projectId, webhookId }: WebhookKey): RegisteredWebhook | undefined {
    const project = this.#projects.get(projectId);
    const webhook = project?.state.webhooks[webhookId];
    const start = project?.starts[webhookId];
    if (webhook === undefined || start === undefined) return undefined;
    return { projectId, webhookId, webhook, start };
  }

  /** Waits until what happened to webhooks up to a position is known here, or until aborted. */
  async reached(position: Position, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const check = (): void => {
        if (this.#position < position && !signal.aborted) return;
        this.#waiting.delete(check);
        signal.removeEventListener('abort', check);
        resolve();
      };
      this.#waiting.add(check);
      signal.addEventListener('abort', check);
      check();
    });
  }

  /**
   * Follows the log until `signal`. `onReady` when it is as the log was when this began, then
   * `onChanged` for each webhook that an event is about.
   */
  async follow(
    signal: AbortSignal,
    {
      onReady,
      onChanged,
    }: { readonly onReady: () => void; readonly onChanged: (key: WebhookKey) => void },
  ): Promise<void> {
    await this.#load();
    const head = await this.#store.head();
    let isReady = this.#position >= head;
    if (isReady) onReady();
    const options = { after: this.#position, types: TYPES, signal };
    for await (const { events, position } of this.#feed.subscribe(options)) {
      for (const recorded of events) {
        const key = this.#apply(recorded);
        if (isReady && key !== undefined) onChanged(key);
      }
      this.#position = position;
      for (const check of this.#waiting) check();
      if (!isReady && position >= head) {
        isReady = true;
        onReady();
      }
      // Derived data: without it, the next start reads more.
      if (performance.now() - this.#keptAtMs > KEEP_INTERVAL_MS) {
        await this.keep().catch(() => undefined);
      }
    }
  }

  async keep(): Promise<void> {
    this.#keptAtMs = performance.now();
    const { logId } = this.#store;
    const projects = [...this.#projects].map(([projectId, { state, starts }]) => ({
      projectId,
      webhooks: state.webhooks,
      starts: Object.entries(starts).map(([webhookId, { position, series }]) => ({
        webhookId,
        series,
        position: formatPosition(logId, position),
      })),
    }));
    const state = { projects } satisfies KeptRegistry;
    const position = this.#position;
    const snapshot = { revision: position, position, state: state as unknown as JsonObject };
    await this.#snapshots.save(KEPT_AS, FOLD, snapshot);
  }

  async #load(): Promise<void> {
    this.#projects.clear();
    this.#position = BEGINNING;
    const kept = await this.#snapshots.load(KEPT_AS, FOLD);
    if (kept === undefined) return;
    this.#position = kept.position;
    // What `keep` has written, under the version of this fold.
    const { projects } = kept.state as unknown as KeptRegistry;
    for (const { projectId, webhooks, starts } of projects) {
      const entries = starts.map(({ webhookId, series, position }) => [
        webhookId,
        { series, position: this.#parse(position) },
      ]);
      const known = Object.fromEntries(entries) as Record<string, Start>;
      this.#projects.set(projectId, { state: { webhooks }, starts: known });
    }
  }

  #apply(recorded: RecordedEvent): WebhookKey | undefined {
    const projectId = parseStreamName(recorded.stream)?.projectId;
    if (projectId === undefined) return undefined;
    const event = webhooksContract.read(recorded);
    const { webhookId } = event.data;
    const before = this.#projects.get(projectId);
    const state = webhooksDecider.evolve(before?.state ?? webhooksDecider.initialState, event);
    const { [webhookId]: start, ...others } = before?.starts ?? {};
    const webhook = state.webhooks[webhookId];
    const begun = webhook && this.#startBy(event, recorded.position, webhook);
    const current = begun ?? start;
    const starts = webhook && current ? { ...others, [webhookId]: current } : others;
    if (Object.keys(state.webhooks).length === 0) this.#projects.delete(projectId);
    else this.#projects.set(projectId, { state, starts });
    return { projectId, webhookId };
  }

  #startBy(event: WebhookEvent, position: Position, webhook: Webhook): Start | undefined {
    if (event.type !== 'WebhookCreated' && event.type !== 'WebhookReplayRequested') {
      return undefined;
    }
    const { startsAfter } = event.data;
    const series = webhook.attemptSeries;
    return { series, position: startsAfter === null ? position : this.#parse(startsAfter) };
  }

  /** A position of the log that this one was copied from means nothing here: then all is sent. */
  #parse(text: string): Position {
    const { logId } = this.#store;
    const isHere = isPositionText(text) && text.startsWith(`${logId}-`);
    return isHere ? parsePosition(logId, text) : BEGINNING;
  }
}

interface KeptRegistry {
  readonly projects: readonly {
    readonly projectId: string;
    readonly webhooks: WebhooksState['webhooks'];
    readonly starts: readonly {
      readonly webhookId: string;
      readonly series: number;
      readonly position: string;
    }[];
  }[];
}
