import { rowsAs } from '../../../database/rows.ts';
import { sql } from '../../../database/sql.ts';
import type { KeyKind, Role } from '../../../events/tenancy.ts';
import type { Versioned, ReadModels } from '../../engine/reading/read-models.ts';
import { tenancy } from '../tables.ts';

/** A key with all that decides whether, and for what, it is accepted. */
export interface KeyHolder extends IssuedKey, HolderStatus {}

export interface IssuedKey {
  readonly keyId: string;
  readonly kind: KeyKind;
  readonly projectId: string;
  readonly holder: string;
  readonly secretHash: string;
  readonly isRevoked: boolean;
}

export interface HolderStatus {
  /** The role of a member; null once it is removed, and for other holders. */
  readonly role: Role | null;
  /** Whether the holder is a device that is neither retired nor in another project. */
  readonly isActiveDevice: boolean;
  readonly sensorId: string | null;
}

/** Who holds a key: what names a member or a device. */
export type KeyAddress = Pick<IssuedKey, 'kind' | 'projectId' | 'holder'>;

export interface KeyLookup {
  readonly keyId: string;
  /** Who holds it, where that is known better than by the table of keys. */
  readonly address: KeyAddress | undefined;
}

/** What the tables say of a key, and of the holder that was asked for with it. */
export interface KeyRow {
  readonly key: IssuedKey | undefined;
  readonly status: HolderStatus;
}

interface SelectedRow {
  readonly keyId: string | null;
  readonly kind: KeyKind;
  readonly projectId: string;
  readonly holder: string;
  readonly secretHash: string;
  readonly isRevoked: boolean;
  readonly role: Role | null;
  readonly isActiveDevice: boolean;
  readonly sensorId: string | null;
}

/** The tables of keys and their holders, for authentication. */
export class KeyQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /**
   * What the tables hold, however far they are: the caller knows what they lack. A row for each
   * lookup, in its order.
   */
  async keyRows(lookups: readonly KeyLookup[]): Promise<Versioned<KeyRow[]>> {
    const wanted = rowsAs(
      'wanted',
      {
        ordinal: ['integer', ([ordinal]) => ordinal],
        key_id: ['text', ([, { keyId }]) => keyId],
        // The holder, where it is known.
        kind: ['text', ([, { address }]) => address?.kind],
        project_id: ['text', ([, { address }]) => address?.projectId],
        holder: ['text', ([, { address }]) => address?.holder],
      },
      [...lookups.entries()],
    );
    // Subqueries with a limit are executed row by row, whatever the planner expects of the arrays.
    const { value, position } = await this.#models.readAsIs<SelectedRow>(sql`
      select
        k.key_id as "keyId",
        k.kind,
        k.project_id as "projectId",
        k.holder,
        k.secret_hash as "secretHash",
        k.revoked_at is not null as "isRevoked",
        m.role,
        d.device_id is not null and d.retired_at is null as "isActiveDevice",
        d.sensor_id as "sensorId"
      from ${wanted}
      left join lateral (
        select *
        from ${tenancy.keys}
        where key_id = wanted.key_id
          and to_position is null
        limit 1
      ) k on true
      left join lateral (
        select role
        from ${tenancy.members}
        where coalesce(wanted.kind, k.kind) = 'mem'
          and project_id = coalesce(wanted.project_id, k.project_id)
          and member_id = coalesce(wanted.holder, k.holder)
          and to_position is null
        limit 1
      ) m on true
      left join lateral (
        select device_id, retired_at, sensor_id
        from ${tenancy.devices}
        where coalesce(wanted.kind, k.kind) = 'dev'
          and project_id = coalesce(wanted.project_id, k.project_id)
          and device_id = coalesce(wanted.holder, k.holder)
          and to_position is null
        limit 1
      ) d on true
      order by wanted.ordinal`);
    return { value: value.map(keyRow), position };
  }
}

function keyRow({ keyId, role, isActiveDevice, sensorId, ...row }: SelectedRow): KeyRow {
  const { kind, projectId, holder, secretHash, isRevoked } = row;
  return {
    key: keyId === null ? undefined : { keyId, kind, projectId, holder, secretHash, isRevoked },
    status: { role, isActiveDevice, sensorId },
  };
}
