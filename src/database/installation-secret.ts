import { randomBytes } from 'node:crypto';
import type { Database } from './database.ts';
import { sql } from './sql.ts';

/**
 * The key of HMACs of secrets. It belongs to the installation and not to the log, and all processes
 * share it. The first start makes it; when several processes start at once, one of them does.
 */
export async function installationSecret(database: Database): Promise<Buffer> {
  await keepSecret(database, randomBytes(32));
  const [row] = await database.query<{ secret: string }>(sql`
    select secret
    from engine.installation`);
  if (row === undefined) throw new Error('engine.installation holds no row');
  return Buffer.from(row.secret, 'hex');
}

/**
 * Gives a new installation the secret of the one whose log it gets, so that repeated requests show
 * the same API keys as the first time. An installation that has a secret keeps it.
 */
export async function takeInstallationSecret(from: Database, to: Database): Promise<void> {
  await keepSecret(to, await installationSecret(from));
}

/** Only where there is no secret yet. */
async function keepSecret(database: Database, secret: Buffer): Promise<void> {
  await database.query(sql`
    insert into engine.installation (secret)
    values (${secret.toString('hex')})
    on conflict do nothing`);
}
