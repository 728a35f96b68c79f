import type { Selectable } from 'kysely';
import type { Attempt, Claimed, Job, JobRequest, RunReport } from '../../core/job.ts';
import { failureOf } from '../../core/job.ts';
import type { JobRow } from '../tables.ts';

export type JobRecord = Selectable<JobRow>;

/** The part of a request that has no column of its own. The description is first, so that it can be had alone. */
export function requestText({ description, hook, own, chain, args, limits, traceparent }: JobRequest): string {
  return JSON.stringify({ description, hook, own, chain, args, limits, traceparent });
}

export function requestOf({ plugin, task, request }: Pick<JobRecord, 'plugin' | 'task' | 'request'>): JobRequest {
  return { plugin, task, ...(JSON.parse(request) as Omit<JobRequest, 'plugin' | 'task'>) };
}

export function jobOf(row: JobRecord): Job {
  return {
    id: row.id,
    request: requestOf(row),
    state: row.state,
    priority: row.priority,
    retries: row.retries,
    singleton: row.singleton,
    debounce: row.debounce,
    cause: row.cause,
    createdAt: row.created_at,
    startAfter: row.start_after,
    startedAt: row.started_at,
    endedAt: row.ended_at,
    keepUntil: row.keep_until,
    cancelAskedAt: row.cancel_asked_at,
    node: row.node,
    attempt: row.attempt,
    kills: row.kills,
    losses: row.losses,
    history: JSON.parse(row.history) as Attempt[],
    told: row.told,
    progress: row.progress,
    output: row.output,
    failure: row.failure === null ? null : failureOf(row.failure),
    report: row.report === null ? null : (JSON.parse(row.report) as RunReport),
  };
}

export function claimedOf(row: JobRecord): Claimed {
  return {
    id: row.id,
    tenant: row.tenant,
    claim: row.claim ?? 0,
    attempt: row.attempt,
    tries: row.tries,
    failures: row.failures,
    kills: row.kills,
    losses: row.losses,
    told: row.told,
    request: requestOf(row),
    retries: row.retries,
    history: withLosses(row),
  };
}

/** Nodes that were lost could not write that down themselves. */
function withLosses({ history, losses, attempt }: JobRecord): Attempt[] {
  const tried = JSON.parse(history) as Attempt[];
  const known = tried.filter(({ message }) => message === NODE_LOST).length;
  if (known >= losses) return tried;
  return [...tried, { attempt: attempt - 1, at: new Date().toISOString(), code: 'executor_lost', message: NODE_LOST }];
}

const NODE_LOST = 'The node that ran it was lost';
