import { rowsAs } from '../../../database/rows.ts';
import { sql } from '../../../database/sql.ts';
import type { LinkKind } from '../../../events/tenancy.ts';
import { Batched } from '../../../shared/batched.ts';
import type { ReadModels } from '../../engine/reading/read-models.ts';
import { tenancy } from '../tables.ts';

const MAX_LINKS_PER_QUERY = 500;

/** Which devices have a DevEUI, SIM card or sensor, as far as the tables know. */
export class LinkQueries {
  readonly #models: ReadModels;
  readonly #lookups = new Batched<string, readonly string[]>(MAX_LINKS_PER_QUERY, (links) =>
    this.#read(links),
  );

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /**
   * Devices of the project that have this value and are not retired; as the tables are, without
   * waiting for what was written last.
   */
  devicesWith(projectId: string, kind: LinkKind, value: string): Promise<readonly string[]> {
    return this.#lookups.load(JSON.stringify([projectId, kind, value]));
  }

  async #read(links: readonly string[]): Promise<Map<string, string[]>> {
    const wanted = rowsAs(
      'wanted',
      {
        link: ['text', ({ link }) => link],
        project_id: ['text', ({ projectId }) => projectId],
        kind: ['text', ({ kind }) => kind],
        value: ['text', ({ linked }) => linked],
      },
      links.map((link) => {
        const [projectId, kind, linked] = JSON.parse(link) as [string, LinkKind, string];
        return { link, projectId, kind, linked };
      }),
    );
    const { value } = await this.#models.readAsIs<{ link: string; deviceId: string }>(sql`
      select wanted.link, d.device_id as "deviceId"
      from ${wanted}
      cross join lateral (
        select device_id, retired_at
        from ${tenancy.devices}
        where wanted.kind = 'devEui'
          and project_id = wanted.project_id
          and dev_eui = wanted.value
          and to_position is null
        union all
        select device_id, retired_at
        from ${tenancy.devices}
        where wanted.kind = 'simCardId'
          and project_id = wanted.project_id
          and sim_card_id = wanted.value
          and to_position is null
        union all
        select device_id, retired_at
        from ${tenancy.devices}
        where wanted.kind = 'sensorId'
          and project_id = wanted.project_id
          and sensor_id = wanted.value
          and to_position is null
      ) d
      where d.retired_at is null`);
    const found = new Map(links.map((link): [string, string[]] => [link, []]));
    for (const { link, deviceId } of value) found.get(link)?.push(deviceId);
    return found;
  }
}
