/**
 * The answer to an invocation, written by hand: the output is JSON text already, and parsing it to write it again
 * would cost more than the rest of the request. test/http holds it against the schema that the API reference shows.
 */
import type { LogLine, Outcome, Usage } from '../core/outcome.ts';
import type { Settled } from '../engine/invoker.ts';

export function answerText(
  { id, outcome }: Pick<Settled, 'id' | 'outcome'>,
  times: Timings,
  output: string,
  logs: boolean,
): string {
  const told = logs ? `,"logs":${JSON.stringify(outcome.logs)}` : '';
  return (
    `{"id":"${id}","output":${output},"progress":${number(outcome.progress)}${told},"usage":${usageText(outcome.usage)},` +
    `"timingsMs":{"queue":${times.queue},"boot":${times.boot},"run":${times.run},"host":${times.host}}}`
  );
}

function usageText(usage: Usage): string {
  return (
    `{"cpuMs":${ms(usage.cpuMs)},"wallMs":${ms(usage.wallMs)},"peakMemoryBytes":${number(usage.peakMemoryBytes)},` +
    `"hostCalls":${number(usage.hostCalls)},"outputBytes":${number(usage.outputBytes)},` +
    `"logLines":${number(usage.logLines)},"logLinesDropped":${number(usage.logLinesDropped)}}`
  );
}

/** What a failed invocation tells beyond its failure. */
export function reportOf(
  { outcome }: Pick<Settled, 'outcome'>,
  timingsMs: Timings,
  logs: boolean,
): Record<string, unknown> {
  const { cpuMs, wallMs } = outcome.usage;
  const told: { logs?: LogLine[] } = logs ? { logs: outcome.logs } : {};
  return {
    progress: outcome.progress,
    usage: { ...outcome.usage, cpuMs: ms(cpuMs), wallMs: ms(wallMs) },
    timingsMs,
    ...told,
  };
}

/** In ms: parts that add up to the whole; `host` is time spent waiting for the application. */
export type Timings = { queue: number; boot: number; run: number; host: number };

export function timingsOf({ outcome, queueMs, totalMs }: Pick<Settled, 'outcome' | 'queueMs' | 'totalMs'>): Timings {
  const { bootMs, hostMs }: Outcome = outcome;
  const run = Math.max(0, totalMs - queueMs - bootMs - hostMs);
  return { queue: ms(queueMs), boot: ms(bootMs), run: ms(run), host: ms(hostMs) };
}

export function serverTiming({ queue, boot, run, host }: Timings): string {
  return `queue;dur=${queue}, boot;dur=${boot}, run;dur=${run}, host;dur=${host}`;
}

/** Microseconds are as fine as anybody wants to know. */
function ms(value: number): number {
  const rounded = Math.round(value * 1_000) / 1_000;
  return Number.isFinite(rounded) ? rounded : 0;
}

/** JSON has no NaN; a number we do not have is null. */
function number(value: number | null): number | null {
  return value !== null && Number.isFinite(value) ? value : null;
}
