import {
  type Contract,
  type DomainEvent,
  type EventMetadata,
  type ReadableEvent,
  type RecordableEvent,
} from './event.ts';
import { deveuiContract } from './deveui.ts';
import { firmwareContract } from './firmware.ts';
import { projectionsContract } from './projections.ts';
import { requestsContract } from './requests.ts';
import { stateContract } from './state.ts';
import { tenancyContract } from './tenancy.ts';
import { usageContract } from './usage.ts';
import { webhooksContract } from './webhooks.ts';

/**
 * The contract of each domain. It is here, and not in `domains.ts`, because every layer reads
 * events, and none of them may depend on all the others. A domain that has a line here and none
 * there does not compile. It is the order in which domains are shown.
 */
export const domainContracts = {
  tenancy: tenancyContract,
  state: stateContract,
  deveui: deveuiContract,
  firmware: firmwareContract,
  usage: usageContract,
  webhooks: webhooksContract,
};

/** What the write side and the engine themselves have in the log. */
export const platformContracts = {
  requests: requestsContract,
  projections: projectionsContract,
};

export type DomainName = keyof typeof domainContracts;

const contracts = { ...domainContracts, ...platformContracts };
const all: readonly Contract[] = Object.values(contracts);

type CategoriesOf<Contracted> = Contracted extends Contract<infer Category> ? Category : never;
/** The categories of all streams. A log that shares a server is known by these. */
export type StreamCategory = CategoriesOf<(typeof contracts)[keyof typeof contracts]>;
export const streamCategories = all
  .flatMap(({ categories }) => categories)
  .toSorted() as readonly StreamCategory[];

const contractOfType: ReadonlyMap<string, Contract> = new Map(
  all.flatMap((contract) => contract.types.map((type) => [type, contract] as const)),
);

/** An event as the log takes it, but for its id: checked against its schema, in today's version. */
export function recordable(
  event: DomainEvent,
  metadata: Omit<EventMetadata, 'schemaVersion'>,
): RecordableEvent {
  const contract = contractOfType.get(event.type);
  if (contract === undefined) throw new Error(`event type ${event.type} is not in the registry`);
  return contract.record(event, metadata);
}

/**
 * Whether this release knows events of the type: a newer one may have written others beside them.
 */
export function isKnownType(type: string): boolean {
  return contractOfType.has(type);
}

/** A recorded event as folds and projections read it: in the version that today's code knows. */
export function domainEvent(recorded: ReadableEvent): DomainEvent {
  const { type, data } = recorded;
  return contractOfType.get(type)?.read(recorded) ?? { type, data };
}
