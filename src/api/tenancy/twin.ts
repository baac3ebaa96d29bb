import { z } from 'zod';
import { atLeast, type ReadModels } from '../../projections/engine/reading/read-models.ts';
import type { FirmwareQueries } from '../../projections/firmware/queries.ts';
import type { StateQueries } from '../../projections/state/queries.ts';
import type { TenancyQueries } from '../../projections/tenancy/queries.ts';
import type { UsageQueries } from '../../projections/usage/queries.ts';
import { LedgerError } from '../../shared/errors.ts';
import { sha256 } from '../../shared/ids.ts';
import { canonicalJson, exactInteger, isSameJson, type JsonObject } from '../../shared/json.ts';
import { bytesAnswer, idField, timeAnswer } from '../fields.ts';
import { currentFirmwareAnswer, currentFirmwareBody } from '../firmware/history.ts';
import { momentOf } from '../moment.ts';
import { notFound } from '../problem.ts';
import { defineRoute, etag, jsonTime, type Route } from '../route.ts';
import { deviceBody, deviceFields } from './devices.ts';

export interface TwinRouteParts {
  readonly models: ReadModels;
  readonly queries: TenancyQueries;
  readonly states: StateQueries;
  readonly firmware: FirmwareQueries;
  readonly usage: UsageQueries;
}

const deviceAnswer = deviceFields
  .extend({
    last_seen_at: timeAnswer.nullable(),
    firmware: z.array(currentFirmwareAnswer),
    state: z.record(z.string(), z.unknown()).nullable(),
    usage_this_month: bytesAnswer.nullable().meta({
      description:
        'Bytes used by its SIM card in this month (UTC); null while accepted records are not ' +
        'added up yet',
    }),
  })
  .meta({ id: 'Device' });

export function twinRoute({ models, queries, states, firmware, usage }: TwinRouteParts): Route {
  return defineRoute({
    method: 'get',
    path: '/devices/{id}',
    operationId: 'getDevice',
    summary: 'Get a device with its firmware, state and usage',
    tag: 'Tenancy',
    access: ['owner', 'member', 'viewer'],
    changedBy: ({ id }) => ({ deviceId: id }),
    params: z.object({ id: idField }),
    takesAsOf: true,
    answers: { 200: deviceAnswer },
    errors: ['not-found'],
    hasEtag: true,
    async handle(request) {
      const { params, projectId, read } = request;
      // All parts as of one position, so that they are of one moment.
      const asOf = request.asOf ?? (await models.commonPosition(PARTS, 'usage', read));
      const found = await queries.devices(projectId, { only: params.id, limit: 1, asOf }, read);
      const [device] = found.value;
      if (device === undefined) throw notFound();
      const month = monthOf(await momentOf(request));
      const [state, reported, used] = await Promise.all([
        device.sensorId === null
          ? undefined
          : states.sensorAt(projectId, device.sensorId, asOf, read),
        firmware.current(projectId, params.id, asOf, read),
        device.simCardId === null
          ? { value: 0n }
          : usage
              .ofSim(
                projectId,
                device.simCardId,
                { ...month, asOf },
                {
                  ...atLeast(read, request.asOf),
                  wait: { ...read.wait, waitForMs: WAIT_FOR_USAGE_MS },
                },
              )
              .catch(unlessBehind),
      ]);
      const parts = {
        last_seen_at: jsonTime(device.lastSeenAt),
        firmware: reported.value.map(currentFirmwareBody),
        state: state?.value?.state ?? null,
        usage_this_month: used === null ? null : exactInteger(used.value),
      };
      return {
        status: 200,
        body: { ...deviceBody(device), ...parts },
        headers: { ETag: etagWith(device.revision, parts) },
        position: asOf,
        isTransient: used === null,
      };
    },
  });
}

/** Then the device is shown without its usage, as that may come by the million. */
const WAIT_FOR_USAGE_MS = 500;
/** Usage is not among them: the others do not wait for it. */
const PARTS = ['tenancy', 'state', 'firmware'] as const;
const NO_PARTS = { last_seen_at: null, firmware: [], state: null, usage_this_month: 0 };

/**
 * A device that nothing was heard of is told by its revision. What is shown beside it changes by
 * itself, so then the tag tells that, too; `If-Match` looks at the revision in it.
 */
function etagWith(revision: bigint, parts: JsonObject): string {
  return isSameJson(parts, NO_PARTS)
    ? etag(revision)
    : etag(revision, sha256(canonicalJson(parts)));
}

function unlessBehind(error: unknown): null {
  if (error instanceof LedgerError && error.code === 'read-model-behind') return null;
  throw error;
}

function monthOf(time: Date): { from: Date; to: Date } {
  const [year, month] = [time.getUTCFullYear(), time.getUTCMonth()];
  return { from: new Date(Date.UTC(year, month)), to: new Date(Date.UTC(year, month + 1)) };
}
