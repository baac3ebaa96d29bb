import { API_URL, ApiError, answered, problemOf } from './client.ts';
import { hold, type HeldKey, type Scope } from './keys.ts';

interface CurrentKey {
  readonly id: string;
  readonly kind: 'admin' | 'member' | 'device';
  readonly project_id: string | null;
  readonly holder: string | null;
  readonly role: HeldKey['role'];
}

/** Asks the service what the key is for, and keeps it under that. */
export async function signIn(text: string): Promise<Scope> {
  const key = text.trim();
  const headers = { Authorization: `Bearer ${key}` };
  const response = await answered(new Request(`${API_URL}/key`, { headers }));
  if (!response.ok) throw new ApiError(response.status, await problemOf(response));
  const current = (await response.json()) as CurrentKey;
  if (current.kind === 'device') {
    throw new ApiError(403, {
      title: 'A device key',
      code: 'forbidden',
      detail: 'Devices report with this key. The console needs the key of a member or an admin.',
    });
  }
  const scope = current.kind === 'admin' ? 'admin' : 'project';
  const { id, project_id: projectId, holder, role } = current;
  hold(scope, { key, id, projectId, holder, role });
  return scope;
}
