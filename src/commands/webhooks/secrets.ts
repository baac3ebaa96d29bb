import { createHmac } from 'node:crypto';

/**
 * What signs the messages of a webhook: `whsec_` and the base64 of 32 bytes, as Standard Webhooks
 * has it. It is stored nowhere, but derived from the salt in the log and the secret of the
 * installation beside the log. So every process can sign, and the log alone is not enough to.
 */
export function webhookSecret(
  installationSecret: Buffer,
  {
    projectId,
    webhookId,
    salt,
  }: { readonly projectId: string; readonly webhookId: string; readonly salt: string },
): string {
  const scope = JSON.stringify(['webhook', projectId, webhookId, salt]);
  return `whsec_${createHmac('sha256', installationSecret).update(scope).digest('base64')}`;
}
