import type { Row } from './question.ts';

/** The JSON has it whole. */
const NOTE_MOST = 120;

export function table(rows: readonly Row[]): string {
  const baselines = [...new Set(rows.flatMap(({ ratios }) => Object.keys(ratios)))];
  const cells = [
    ['what', 'value', 'unit', ...baselines.map((name) => `× ${name}`), 'target', 'note'],
    ...rows.map((row) => [
      row.title,
      number(row.value),
      row.unit,
      ...baselines.map((name) => (row.ratios[name] === undefined ? '' : row.ratios[name].toFixed(2))),
      row.targets.map(({ text, met }) => `${text} ${met === null ? '?' : met ? 'met' : 'MISSED'}`).join(', '),
      row.note.length > NOTE_MOST ? `${row.note.slice(0, NOTE_MOST)}…` : row.note,
    ]),
  ];
  const widths = cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  const isText = (column: number) => column === 0 || column === 2 || column >= 3 + baselines.length;
  const line = (row: string[]) =>
    `| ${row.map((cell, i) => (isText(i) ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(' | ')} |`;
  const rule = `|${widths.map((width, i) => (isText(i) ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(cells[0] ?? []), rule, ...cells.slice(1).map(line)].join('\n');
}

function number(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en') : value.toFixed(value >= 100 ? 0 : 2);
}
