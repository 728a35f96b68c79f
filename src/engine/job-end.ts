import { Failure } from '../core/failure.ts';
import type { Attempt, Claimed, JobEvent, Retries, RunReport, Settlement } from '../core/job.ts';
import type { Settled } from './invoker.ts';

/** A job that had to be killed with what it ran in so often is parked: each time costs everybody an executor. */
const KILLS_MOST = 2;
/** Tries in all. What is not the plugin's fault is tried again unasked, and still not for ever. */
const ATTEMPTS_MOST = 25;
/** Tries that are told of; the first ones go. */
const HISTORY_MOST = 10;

/** What a run means for its job: an end, or another try and when. Pure; `now` is in ms. */
export function settlementOf(
  claimed: Claimed,
  settled: Settled,
  events: readonly JobEvent[],
  { now, cancelled }: { now: number; cancelled: boolean },
): Settlement {
  const { outcome } = settled;
  const { failures, kills, history } = claimed;
  const report = reportOf(settled);
  const base = { claimed, events, progress: outcome.progress, failures, kills, history };
  if (outcome.ok) return { ...base, result: { state: 'succeeded', output: outcome.output, failure: null, report } };

  const { failure } = outcome;
  const output = failure.details.output ?? null;
  const end = (state: 'failed' | 'cancelled' | 'dead') => ({ state, output, failure, report });
  if (cancelled && failure.code === 'cancelled') return { ...base, result: end('cancelled') };
  const tried = [...history, attemptOf(claimed, failure, now)].slice(-HISTORY_MOST);
  // The node goes; the job does not. Another takes it over at once.
  if (failure.code === 'draining') return { ...base, history: tried, result: { againMs: 0 } };
  if (failure.again === 'never') return { ...base, result: end('failed') };
  const counted = failure.again === 'asked' ? failures + 1 : failures;
  const killed = killedWhatItRanIn(settled) ? kills + 1 : kills;
  const next = { ...base, failures: counted, kills: killed, history: tried };
  if (killed >= KILLS_MOST) return { ...next, result: end('dead') };
  if (claimed.tries >= ATTEMPTS_MOST) return { ...next, result: end('dead') };
  if (counted > claimed.retries.most) return { ...next, result: end(claimed.retries.most === 0 ? 'failed' : 'dead') };
  const againMs = Math.max(
    failure.details.retryAfterMs ?? 0,
    backOffMs(claimed.retries, failure.again === 'asked' ? counted : tried.length),
  );
  return { ...next, result: { againMs } };
}

/** Before the try after `tries` that failed. */
function backOffMs({ delayMs, delayMsMost }: Retries, tries: number): number {
  return Math.min(delayMsMost, delayMs * 2 ** Math.min(tries - 1, 30));
}

function attemptOf({ attempt }: Claimed, { code, message, details }: Failure, now: number): Attempt {
  return { attempt, at: new Date(now).toISOString(), code, message: message.slice(0, 500), rung: details.rung };
}

function killedWhatItRanIn({ plugin, outcome }: Settled): boolean {
  if (outcome.ok || plugin?.program.runtime !== 'isolate') return false;
  return outcome.failure.details.rung === 'killed' && outcome.failure.countsAgainstHealth;
}

function reportOf({ id, plugin, outcome, queueMs, totalMs }: Settled): RunReport {
  const { usage, progress, bootMs, hostMs } = outcome;
  return {
    invocation: id,
    plugin: plugin === undefined ? null : { id: plugin.id, version: plugin.version },
    usage,
    progress,
    bootMs,
    hostMs,
    queueMs,
    totalMs,
  };
}

/** Why a job is stopped that another node has taken over: what comes of it here counts for nothing. */
export const TAKEN_OVER = new Failure('executor_lost', 'Another node has taken the job over');
