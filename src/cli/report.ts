import { styleText } from 'node:util';
import type { Failure } from '../core/failure.ts';
import type { LogLevel } from '../core/outcome.ts';
import { writtenOut } from '../core/text.ts';
import type { Settled } from '../engine/invoker.ts';
import { answerText, reportOf, timingsOf } from '../http/answer.ts';
import { problem } from '../http/errors.ts';

const COLOURS = {
  trace: 'gray',
  debug: 'gray',
  info: 'cyan',
  warning: 'yellow',
  error: 'red',
} as const satisfies Record<LogLevel, string>;

type Colour = (typeof COLOURS)[LogLevel] | 'green' | 'bold';

/**
 * What came of a run. The output goes to standard output, so that it can be piped on; everything else to standard
 * error. Nothing that a plugin says can do anything to the terminal.
 */
export function report(settled: Settled, json: boolean): void {
  if (json) {
    print(document(settled));
    return;
  }
  const { outcome } = settled;
  for (const { level, message, atMs } of outcome.logs) {
    // Indented, so that a message of several lines cannot look like several messages.
    const text = writtenOut(message).replaceAll('\n', '\n                      ');
    note(`${`${atMs.toFixed(1)} ms`.padStart(12)} ${coloured(COLOURS[level], level.padEnd(8))} ${text}`);
  }
  if (outcome.progress !== null) note(`progress ${Math.round(outcome.progress * 100)} %`);
  if (outcome.ok) print(pretty(outcome.output));
  else explain(outcome.failure);

  // Refused before it ran: there is nothing to measure.
  if (outcome.usage.wallMs === 0) return;
  const { cpuMs, wallMs, peakMemoryBytes, hostCalls, logLinesDropped } = outcome.usage;
  const dropped = logLinesDropped > 0 ? `, ${logLinesDropped} log lines dropped` : '';
  const verdict = outcome.ok ? coloured('green', 'ok') : coloured('red', outcome.failure.code);
  note(
    `${verdict} after ${wallMs.toFixed(1)} ms: cpu ${cpuMs.toFixed(1)} ms, peak ${(peakMemoryBytes / 2 ** 20).toFixed(1)} MB, ` +
      `${hostCalls} calls of the application${dropped}`,
  );
}

function explain({ code, message, hint, details }: Failure): void {
  note(`${coloured('red', code)}: ${writtenOut(message)}`);
  const { pluginError, output, limit, where } = details;
  if (pluginError !== undefined) {
    note(coloured('bold', writtenOut(`${pluginError.name}: ${pluginError.message}`)));
    if (pluginError.stack !== undefined) note(writtenOut(pluginError.stack));
  }
  for (const { at, problem: detail } of where ?? []) note(`  ${writtenOut(`${at}: ${detail}`)}`);
  if (limit !== undefined) note(`limit ${limit.name}: ${limit.allowed} ${limit.unit} allowed, ${limit.observed} seen`);
  note(hint);
  if (output !== undefined) print(pretty(output));
}

/** The same as the service would answer. */
function document(settled: Settled): string {
  const { id, outcome } = settled;
  if (outcome.ok) return pretty(answerText(settled, timingsOf(settled), outcome.output, true));
  return pretty(problem(outcome.failure, { invocation: id, more: reportOf(settled, timingsOf(settled), true) }).text);
}

function pretty(json: string): string {
  return writtenOut(JSON.stringify(JSON.parse(json), null, 2));
}

function coloured(colour: Colour, text: string): string {
  return styleText(colour, text, { stream: process.stderr });
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}
