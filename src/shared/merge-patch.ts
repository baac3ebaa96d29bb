import { isJsonObject, isSameJson, type Json, type JsonObject } from './json.ts';

/** JSON Merge Patch (RFC 7396): `null` removes a key, objects merge, everything else replaces. */
export function mergePatch(target: Json | undefined, patch: JsonObject): JsonObject {
  const merged: JsonObject = isJsonObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else set(merged, key, isJsonObject(value) ? mergePatch(own(merged, key), value) : value);
  }
  return merged;
}

/** Whether merging the patch would give the very same object. Walks the patch, not the target. */
export function isWithoutEffect(target: JsonObject, patch: JsonObject): boolean {
  return Object.entries(patch).every(([key, value]) => {
    const present = own(target, key);
    if (value === null) return present === undefined;
    if (isJsonObject(value)) return isJsonObject(present) && isWithoutEffect(present, value);
    return isSameJson(present, value);
  });
}

// `__proto__` is an ordinary key in JSON, but reading or assigning it reaches the prototype.
function own(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function set(object: JsonObject, key: string, value: Json): void {
  if (key !== '__proto__') object[key] = value;
  else
    Object.defineProperty(object, key, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
}
