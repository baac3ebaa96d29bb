/** The projections of the product in their order, with their versions. */
export const PROJECTION_VERSIONS: Readonly<Record<string, number>> = {
  tenancy: 3,
  state: 3,
  deveui: 1,
  firmware: 2,
  usage: 1,
  webhooks: 1,
};

export const PROJECTION_NAMES = Object.keys(PROJECTION_VERSIONS);

/** The schema of the live tables of a projection; its rebuilt tables take the same name. */
export function liveSchema(name: string): string {
  return `read_${name}_v${PROJECTION_VERSIONS[name]}`;
}

/** The parts that health names for them. */
export const PROJECTION_PARTS = PROJECTION_NAMES.map((name) => `projection:${name}`);
