import { randomBytes } from 'node:crypto';
import type { Database } from './database.ts';

/**
 * What HMACs of secrets are made with: of the installation, hence beside the log, and alike for all
 * its processes. Made at the first start; of processes that start at once, one makes it.
 */
export async function installationSecret(database: Database): Promise<Buffer> {
  await database.query({
    text: `
      insert into engine.installation (secret)
      values ($1 /* secret */)
      on conflict do nothing`,
    values: [randomBytes(32).toString('hex')],
  });
  const [row] = await database.query<{ secret: string }>({
    text: 'select secret from engine.installation',
  });
  if (row === undefined) throw new Error('engine.installation holds no row');
  return Buffer.from(row.secret, 'hex');
}

/**
 * Gives a new installation the secret of another, whose log it gets: so that repeated requests show the
 * keys that were first shown. One that has a secret keeps it.
 */
export async function takeInstallationSecret(from: Database, to: Database): Promise<void> {
  const secret = await installationSecret(from);
  await to.query({
    text: `
      insert into engine.installation (secret)
      values ($1 /* secret */)
      on conflict do nothing`,
    values: [secret.toString('hex')],
  });
}
