import type { Json } from '../shared/json.ts';
import type { NewEvent } from './port.ts';

/**
 * About how many bytes of JSON an event is, counted without writing it: bounds of memory need no
 * more than this.
 */
export function approximateSize({ data, metadata }: NewEvent): number {
  return sizeOf(data) + sizeOf(metadata as unknown as Json) + 100;
}

function sizeOf(value: Json | undefined): number {
  if (typeof value === 'string') return value.length + 2;
  if (typeof value !== 'object' || value === null) return 8;
  let size = 2;
  if (Array.isArray(value)) {
    for (const item of value) size += 1 + sizeOf(item);
    return size;
  }
  for (const key in value) size += key.length + 4 + sizeOf(value[key]);
  return size;
}
