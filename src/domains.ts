import type { RouteParts } from './api/route-parts.ts';
import type { Route } from './api/route.ts';
import type { CommandParts } from './commands/core/command-parts.ts';
import { DevEuiCommands } from './commands/deveui/commands.ts';
import { FirmwareCommands } from './commands/firmware/commands.ts';
import { StateCommands } from './commands/state/commands.ts';
import { TenancyCommands } from './commands/tenancy/commands.ts';
import { UsageCommands } from './commands/usage/commands.ts';
import { WebhookCommands } from './commands/webhooks/commands.ts';
import { domainContracts, type DomainName } from './events/registry.ts';
import { deveuiProjection } from './projections/deveui/projection.ts';
import { deveuiTimeline } from './projections/deveui/timeline.ts';
import type { Projection } from './projections/engine/projection.ts';
import { firmwareProjection } from './projections/firmware/projection.ts';
import { firmwareTimeline } from './projections/firmware/timeline.ts';
import { stateProjection } from './projections/state/projection.ts';
import { stateTimeline } from './projections/state/timeline.ts';
import { tenancyProjection } from './projections/tenancy/projection.ts';
import { tenancyTimeline } from './projections/tenancy/timeline.ts';
import type { TimelinePart, TimelineParts } from './projections/timeline.ts';
import { usageProjection } from './projections/usage/projection.ts';
import { usageTimeline } from './projections/usage/timeline.ts';
import { webhooksProjection } from './projections/webhooks/projection.ts';

/** What one domain consists of, beside its contract (`events/registry.ts`). */
interface Domain<Commands> {
  readonly commands: (parts: CommandParts) => Commands;
  readonly projection: Projection;
  /** What it adds to the timeline of a device. */
  readonly timeline?: TimelinePart;
  /** Imported when they are to be served: a tool that works on the log loads no HTTP. */
  readonly routes: () => Promise<(commands: Commands, parts: RouteParts) => Route[]>;
}

function define<Commands>(domain: Domain<Commands>): Domain<Commands> {
  return domain;
}

/**
 * The manifest: a further domain is new files and one entry here. Its events and the categories of
 * its streams are in the list of `events/registry.ts`, since every layer reads events and none may
 * depend on all the others; a domain that is in one of the two lists only does not compile.
 *
 * In the order in which routes are matched: what devices send comes first.
 */
const domains = {
  state: define({
    commands: (parts) => new StateCommands(parts),
    projection: stateProjection,
    timeline: stateTimeline,
    routes: async () => (await import('./api/state/state.ts')).stateRoutes,
  }),
  firmware: define({
    commands: (parts) => new FirmwareCommands(parts),
    projection: firmwareProjection,
    timeline: firmwareTimeline,
    routes: async () => (await import('./api/firmware/firmware.ts')).firmwareRoutes,
  }),
  deveui: define({
    commands: (parts) => new DevEuiCommands(parts),
    projection: deveuiProjection,
    timeline: deveuiTimeline,
    routes: async () => (await import('./api/deveui/deveui.ts')).deveuiRoutes,
  }),
  usage: define({
    commands: (parts) => new UsageCommands(parts),
    projection: usageProjection,
    timeline: usageTimeline,
    routes: async () => (await import('./api/usage/usage.ts')).usageRoutes,
  }),
  tenancy: define({
    commands: (parts) => new TenancyCommands(parts),
    projection: tenancyProjection,
    timeline: tenancyTimeline,
    routes: async () => (await import('./api/tenancy/tenancy.ts')).tenancyRoutes,
  }),
  webhooks: define({
    commands: (parts) => new WebhookCommands(parts),
    projection: webhooksProjection,
    routes: async () => (await import('./api/webhooks/webhooks.ts')).webhookRoutes,
  }),
} satisfies Record<DomainName, unknown>;

/** The commands of all domains, by domain. */
export type Commands = {
  readonly [Name in DomainName]: ReturnType<(typeof domains)[Name]['commands']>;
};

const domainNames = Object.keys(domains) as readonly DomainName[];

export const projections: readonly Projection[] = Object.keys(domainContracts).map(
  (name) => domains[name as DomainName].projection,
);

export function openCommands(parts: CommandParts): Commands {
  const entries = domainNames.map((name) => [name, domains[name].commands(parts)] as const);
  // Each entry is what `Commands` has under its name, which `Object.fromEntries` does not tell.
  return Object.fromEntries(entries) as unknown as Commands;
}

export const timeline: TimelineParts = Object.fromEntries(
  domainNames.flatMap((name) => {
    const { timeline: part }: { timeline?: TimelinePart } = domains[name];
    return part === undefined ? [] : [[name, part]];
  }),
);

export async function domainRoutes(
  commands: Commands,
  parts: Omit<RouteParts, 'timeline'>,
): Promise<Route[]> {
  const routes = await Promise.all(
    domainNames.map(async (name) => {
      const { routes: load } = domains[name] as Domain<Commands[typeof name]>;
      return (await load())(commands[name], { ...parts, timeline });
    }),
  );
  return routes.flat();
}
