/**
 * A job as an answer. What the plugin answered is JSON text already, and is put in as it is; test/http holds it against
 * the schema that the API reference shows.
 */
import type { Job } from '../core/job.ts';
import { numberOfJob } from '../core/job-number.ts';
import { noUsage, type Outcome } from '../core/outcome.ts';
import type { Settled } from '../engine/invoker.ts';
import { reportOf, timingsOf } from './answer.ts';
import { problem } from './errors.ts';

/** `position` is that of one that waits. A list leaves out what may be long. */
export function jobText(
  job: Job,
  { position = null, whole = true }: { position?: number | null; whole?: boolean } = {},
): string {
  const { request, retries, cancelAskedAt, report } = job;
  const settled = settledOf(job);
  const known = {
    id: job.id,
    number: numberOfJob(job.id),
    state: job.state,
    plugin: request.plugin,
    task: request.task,
    priority: job.priority,
    createdAt: job.createdAt,
    startAfter: job.startAfter,
    startedAt: job.startedAt,
    endedAt: job.endedAt,
    keptUntil: job.keepUntil,
    progress: job.progress,
    attempt: job.attempt,
    retries,
    parked: parkedOf(job),
    singletonKey: job.singleton,
    debounceKey: job.debounce,
    cause: job.cause,
    cancel: cancelAskedAt === null ? null : { askedAt: cancelAskedAt, stopped: job.failure?.details.rung ?? null },
    node: job.node,
    invocation: report?.invocation ?? null,
  };
  if (!whole) return JSON.stringify({ ...known, code: job.failure?.code ?? null });
  const { args, limits, hook, chain } = request;
  const more = {
    ...known,
    position,
    hook: hook?.name ?? null,
    chain: chain?.links ?? [],
    args,
    limits: limits ?? {},
    history: job.history,
    ...(settled === null
      ? {}
      : { usage: reportOf(settled, timingsOf(settled), false).usage, timingsMs: timingsOf(settled) }),
  };
  const json = JSON.stringify(more);
  if (job.failure !== null) return `${json.slice(0, -1)},"problem":${problemText(job, settled)}}`;
  return job.output === null ? json : `${json.slice(0, -1)},"output":${job.output}}`;
}

/** Its end as an invocation that somebody waited for; null where it has not been run to one. */
export function settledOf(
  job: Job,
  logs: Outcome['logs'] = [],
):
  | (Pick<Settled, 'id' | 'outcome' | 'queueMs' | 'totalMs'> & {
      plugin: { id: string; version: string | null } | undefined;
    })
  | null {
  const { report, failure, output } = job;
  if (report === null) return null;
  const { usage, progress, bootMs, hostMs, queueMs, totalMs } = report;
  const rest = { usage: usage ?? noUsage, progress, bootMs, hostMs, logs };
  const outcome: Outcome | null =
    failure !== null ? { ok: false, failure, ...rest } : output !== null ? { ok: true, output, ...rest } : null;
  if (outcome === null) return null;
  return { id: report.invocation, plugin: report.plugin ?? undefined, outcome, queueMs, totalMs };
}

/** Why a dead job is not tried again by itself. */
function parkedOf({ state, kills, losses }: Job): 'poison' | 'nodes_lost' | 'retries_exhausted' | null {
  if (state !== 'dead') return null;
  if (kills >= 2) return 'poison';
  return losses >= 3 ? 'nodes_lost' : 'retries_exhausted';
}

function problemText(job: Job, settled: ReturnType<typeof settledOf>): string {
  if (job.failure === null) return 'null';
  const { invocation, plugin } = job.report ?? {};
  return problem(job.failure, {
    ...(invocation === undefined ? {} : { invocation }),
    ...(plugin === null || plugin === undefined ? {} : { plugin }),
    ...(settled === null ? {} : { more: reportOf(settled, timingsOf(settled), false) }),
  }).text;
}
