/** Longer names are compared by their beginning, so that the cost of a comparison has a bound. */
const MAX_COMPARED_LENGTH = 64;

/**
 * A name that differs in more than this share of its characters is another word, not a mistyped
 * one.
 */
const MAX_DISTANCE_SHARE = 1 / 3;

/**
 * The known name that a mistyped one most likely stands for, or undefined when none is near. A
 * known name that contains the given one (`size`, `batch_size`) is nearer than one of the same edit
 * distance.
 */
export function closestName(given: string, known: readonly string[]): string | undefined {
  const [closest] = known
    .map((name) => ({ name, distance: nameDistance(given, name) }))
    .toSorted((a, b) => a.distance - b.distance);
  const nearest = comparable(given).length * MAX_DISTANCE_SHARE;
  return closest !== undefined && closest.distance <= nearest ? closest.name : undefined;
}

function nameDistance(given: string, known: string): number {
  const a = comparable(given);
  const b = comparable(known);
  const distance = editDistance(a, b);
  return a !== '' && (a.includes(b) || b.includes(a)) ? distance / 4 : distance;
}

/** Case and separators are what people get wrong most, so they make no difference here. */
function comparable(name: string): string {
  return name
    .slice(0, MAX_COMPARED_LENGTH)
    .toLowerCase()
    .replaceAll(/[-_\s]/g, '');
}

/** How many characters must be inserted, removed, replaced, or swapped with the next one. */
function editDistance(a: string, b: string): number {
  let before: readonly number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swapped = isSwapped ? (before[j - 2] ?? 0) + 1 : Infinity;
      next.push(Math.min(replaced, swapped, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    before = row;
    row = next;
  }
  return row[b.length] ?? 0;
}
