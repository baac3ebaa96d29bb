import type { Line } from './row.ts';

const HEAD = ['row', 'ours', 'peer', 'limit', 'ratio', 'goal', ''];

export function table(lines: readonly Line[]): string {
  const rows = [
    HEAD,
    ...lines.map(({ row, ours, peer = '', limit = '', ratios, goal, isMet }) => [
      row,
      ours,
      peer,
      limit,
      ratios,
      goal,
      isMet ? 'ok' : 'miss',
    ]),
  ];
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const texts = rows.map(
    (row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`,
  );
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
  return [texts[0], rule, ...texts.slice(1)].join('\n');
}
