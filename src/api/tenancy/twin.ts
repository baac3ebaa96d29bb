import { z } from 'zod';
import type { Positions } from '../../projections/engine/as-of.ts';
import type { Position, ReadOptions } from '../../projections/engine/read-model.ts';
import type { FirmwareQueries } from '../../projections/firmware/firmware-queries.ts';
import type { SensorView, StateQueries } from '../../projections/state/state-queries.ts';
import type { TenancyQueries } from '../../projections/tenancy/tenancy-queries.ts';
import type { UsageQueries } from '../../projections/usage/usage-queries.ts';
import { asOfQuery, idField, timeAnswer } from '../fields.ts';
import { currentFirmwareAnswer, currentFirmwareBody } from '../firmware/history.ts';
import { notFound } from '../problem.ts';
import { defineRoute, etag, jsonTime, type Route } from '../route.ts';
import { deviceBody, deviceFields } from './devices.ts';

export interface TwinRouteParts {
  readonly queries: TenancyQueries;
  readonly states: StateQueries;
  readonly firmware: FirmwareQueries;
  readonly usage: UsageQueries;
  readonly positions: Positions;
}

const deviceAnswer = deviceFields
  .extend({
    last_seen_at: timeAnswer.nullable(),
    firmware: z.array(currentFirmwareAnswer),
    state: z.record(z.string(), z.unknown()).nullable(),
    usage_this_month: z.int().meta({ description: 'Of its SIM card, in bytes; a month of UTC' }),
  })
  .meta({ id: 'Device' });

/** What a read model has nothing of, and what was not looked for there. */
interface Part<Value> {
  readonly value: Value;
  readonly position?: Position;
}

export function twinRoute({ queries, states, firmware, usage, positions }: TwinRouteParts): Route {
  return defineRoute({
    method: 'get',
    path: '/devices/{id}',
    summary: 'A device with its firmware, the state of its sensor and its usage, now or as it was',
    tag: 'Tenancy',
    access: ['owner', 'member', 'viewer'],
    params: z.object({ id: idField }),
    query: z.object({ as_of: asOfQuery }),
    answers: { 200: deviceAnswer },
    errors: ['not-found'],
    hasEtag: true,
    async handle({ params, query, projectId, read, now }) {
      const moment = query.as_of === undefined ? undefined : await positions.momentOf(query.as_of);
      const asOf = moment?.position;
      const found = await queries.devices(
        projectId,
        { only: params.id, limit: 1, ...(asOf !== undefined && { asOf }) },
        read,
      );
      const [device] = found.value;
      if (device === undefined) throw notFound();
      const month = monthOf(moment?.time ?? now);
      const [state, reported, used] = await Promise.all([
        stateOf(projectId, device.sensorId, asOf, read),
        firmware.current(projectId, params.id, asOf, read),
        usageOf(projectId, device.simCardId, { ...month, asOf }, read),
      ]);
      return {
        status: 200,
        body: {
          ...deviceBody(device),
          last_seen_at: jsonTime(device.lastSeenAt),
          firmware: reported.value.map(currentFirmwareBody),
          state: state.value?.state ?? null,
          usage_this_month: used.value,
        },
        headers: { ETag: etag(device.revision) },
        position: lowest([found, state, reported, used]) ?? found.position,
      };
    },
  });

  function stateOf(
    projectId: string,
    sensorId: string | null,
    asOf: Position | undefined,
    read: ReadOptions,
  ): Promise<Part<SensorView | undefined>> {
    if (sensorId === null) return Promise.resolve({ value: undefined });
    return asOf === undefined
      ? states.sensor(projectId, sensorId, read)
      : states.sensorAt(projectId, sensorId, asOf, read);
  }

  function usageOf(
    projectId: string,
    simCardId: string | null,
    within: { readonly from: Date; readonly to: Date; readonly asOf: Position | undefined },
    read: ReadOptions,
  ): Promise<Part<number>> {
    if (simCardId === null) return Promise.resolve({ value: 0 });
    return usage.ofSim(projectId, simCardId, within, read);
  }
}

/**
 * What an answer out of several read models is of, at least. None is held back to where another stands: each has
 * what this process wrote, wherever the others are.
 */
function lowest(parts: readonly Part<unknown>[]): Position | undefined {
  return parts.reduce<Position | undefined>((least, { position }) => {
    if (position === undefined) return least;
    return least === undefined || position < least ? position : least;
  }, undefined);
}

function monthOf(time: Date): { from: Date; to: Date } {
  const [year, month] = [time.getUTCFullYear(), time.getUTCMonth()];
  return { from: new Date(Date.UTC(year, month)), to: new Date(Date.UTC(year, month + 1)) };
}
