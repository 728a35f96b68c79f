import { inspect } from 'node:util';
import pino, { type DestinationStream, type Logger } from 'pino';
import { stripped } from './core/text.ts';
import type { Settled } from './engine/invoker.ts';

/** Our own log: one JSON object a line. Whatever callers and plugins say is a value in it, never part of its form. */
export function createLog(level: string, destination: DestinationStream): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}

/** Standard error, written in the background, so that no invocation waits for it. */
export function backgroundDestination(): DestinationStream {
  return pino.destination({ dest: 2, sync: false });
}

/** One line for each settled invocation. */
export function logSettled(log: Logger, { id, request, outcome, queueMs, totalMs }: Settled): void {
  const { usage } = outcome;
  const line: Record<string, unknown> = {
    tenant: request.tenant,
    plugin: stripped(request.plugin, 200),
    entry: request.task === undefined ? 'operation' : `task ${stripped(request.task, 200)}`,
    invocation: id,
    code: outcome.ok ? 'ok' : outcome.failure.code,
    wallMs: tenths(usage.wallMs),
    cpuMs: tenths(usage.cpuMs),
    queueMs: tenths(queueMs),
    totalMs: tenths(totalMs),
    peakMemoryBytes: usage.peakMemoryBytes,
    hostCalls: usage.hostCalls,
  };
  if (request.traceparent !== undefined) line.traceparent = request.traceparent;
  if (outcome.ok) {
    log.info(line, 'settled');
    return;
  }
  const { failure } = outcome;
  const { rung, limit, pluginError, cause } = failure.details;
  line.detail = stripped(failure.message, 1_000);
  line.rung = rung;
  line.limit = limit;
  if (pluginError !== undefined) line.pluginError = stripped(`${pluginError.name}: ${pluginError.message}`, 1_000);
  if (cause !== undefined) line.cause = stripped(inspect(cause), 4_000);
  log[failure.code === 'internal' ? 'error' : 'info'](line, 'settled');
}

/** An error of ours that is no invocation's, whole. */
export function logBug(log: Logger, error: unknown): void {
  log.error({ cause: stripped(inspect(error), 8_000) }, 'bug');
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
