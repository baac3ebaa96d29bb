// Each write says whether it failed.
process.stdout.on('error', () => undefined);

/**
 * Writes to stdout, and waits until that has taken it. False when nobody reads any more (`| head`):
 * then there is nothing more to do, and nothing to complain about.
 */
export function print(text: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error: NodeJS.ErrnoException | null | undefined) => {
      if (error === null || error === undefined) resolve(true);
      else if (error.code === 'EPIPE') resolve(false);
      else reject(error);
    });
  });
}

export function printJson(value: object): Promise<boolean> {
  return print(`${JSON.stringify(value)}\n`);
}

export interface Column<Item> {
  readonly title: string;
  readonly cell: (item: Item) => string;
  readonly isNumber?: true;
}

export function table<Item>(columns: readonly Column<Item>[], items: readonly Item[]): string {
  const texts = columns.map(({ title, cell, isNumber }) => {
    const cells = [title, ...items.map((item) => visible(cell(item)))];
    const width = Math.max(...cells.map(({ length }) => length));
    return cells.map((text) => (isNumber ? text.padStart(width) : text.padEnd(width)));
  });
  const lines = [undefined, ...items].map((_, line) => texts.map((cells) => cells[line] ?? ''));
  return lines.map((cells) => `${cells.join('  ').trimEnd()}\n`).join('');
}

/** The text on one line, with nothing in it that a terminal would obey. */
export function visible(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) => {
    const code = char.charCodeAt(0).toString(16).padStart(4, '0');
    return char === '\n' ? ' ' : `\\u${code}`;
  });
}

export function shortened(text: string, length: number): string {
  if (text.length <= length) return text;
  // Not within a pair of surrogates.
  return `${text.slice(0, length - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}
