import { openDatabase } from '../../src/database/database.ts';
import { liveGenerations } from '../../src/projections/engine/generations/generations.ts';
import { createLogger } from '../../src/shared/logger.ts';

/** The projections of the product in their order, with their versions. */
export const PROJECTION_VERSIONS: Readonly<Record<string, number>> = {
  tenancy: 4,
  state: 4,
  deveui: 2,
  firmware: 2,
  usage: 1,
  webhooks: 1,
};

export const PROJECTION_NAMES = Object.keys(PROJECTION_VERSIONS);

/** The schema of the live tables of a projection. */
export async function liveSchema(databaseUrl: string, name: string): Promise<string> {
  const logger = createLogger('silent');
  const database = openDatabase({ url: databaseUrl, logger, maxConnections: 1 });
  try {
    const generations = await liveGenerations(database, name);
    const live = generations.find(({ version }) => version === PROJECTION_VERSIONS[name]);
    if (live === undefined) throw new Error(`'${name}' has no live tables`);
    return live.schema;
  } finally {
    await database.close();
  }
}

/** The parts that health names for them. */
export const PROJECTION_PARTS = PROJECTION_NAMES.map((name) => `projection:${name}`);
