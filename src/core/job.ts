import type { Chain } from './chain.ts';
import { Failure, type FailureCode, type FailureDetails } from './failure.ts';
import type { HookName } from './hook.ts';
import type { Limits } from './limits.ts';
import type { LogLine, Usage } from './outcome.ts';

/**
 * `waiting` for its time or a place, `running`, and the four ends: `failed` at the first try that counted, `dead` after
 * all its retries or because it keeps breaking what it runs in, and so waiting for somebody to look at it.
 */
export const JOB_STATES = ['waiting', 'running', 'succeeded', 'failed', 'cancelled', 'dead'] as const;

export type JobState = (typeof JOB_STATES)[number];

export function hasEnded({ state }: { state: JobState }): boolean {
  return state !== 'waiting' && state !== 'running';
}

/** A failure that may be retried is, so often, after `delayMs` and each time twice that. */
export type Retries = { most: number; delayMs: number; delayMsMost: number };

export const NO_RETRIES: Retries = Object.freeze({ most: 0, delayMs: 1_000, delayMsMost: 3_600_000 });

/**
 * Why there is a job that nobody asked for. `depth` is how many triggers stand one behind the other, and `root` the job
 * that the first of them followed.
 */
export type JobCause =
  | { schedule: string; dueAt: string }
  | { trigger: string; job: string; depth: number; root: string }
  /** Something that happened in the application; `by` is whose invocation did it, where it was a plugin. */
  | { event: string; type: string; by: Chain['by'] }
  /** Another invocation, which did not wait for it; null where the plugin did so of its own accord. */
  | { plugin: string; invocation: string | null };

/** What is to be run: a request without its tenant, as it is kept. */
export type JobRequest = {
  plugin: string;
  task: string | null;
  /** In the words of whoever asked for it. */
  description?: string;
  hook?: HookName;
  /** The plugin itself has asked for it, of what is its own alone; no caller can say so. */
  own?: true;
  chain?: Chain;
  args: Record<string, unknown>;
  limits?: Partial<Limits>;
  traceparent?: string;
};

/** What a caller wants to be done. */
export type JobWish = {
  request: JobRequest;
  /** Higher first. */
  priority: number;
  retries: Retries;
  /** In ms from now, or at a time. */
  start: { delayMs: number } | { at: Date };
  /** While a job of this key waits or runs, there is no other: asking gives the one that is there. */
  singleton: string | null;
  /** While a job of this key waits, asking again replaces what it runs and lets it wait anew. */
  debounce: string | null;
  /** Asking again under the same key gives the job that is there. `hash` is of the whole request. */
  idempotency: { key: string; hash: Buffer } | null;
  cause: JobCause | null;
  /** It is refused where so many that its plugin has asked for itself wait already; null where they are not counted. */
  ownMost: number | null;
};

/** As soon as there is room, once, and for no other reason than that somebody asked. */
export function wishFor(request: JobRequest, more: Partial<JobWish> = {}): JobWish {
  return {
    request,
    priority: 0,
    retries: NO_RETRIES,
    start: { delayMs: 0 },
    singleton: null,
    debounce: null,
    idempotency: null,
    cause: null,
    ownMost: null,
    ...more,
  };
}

/** A try that was not the end. */
export type Attempt = { attempt: number; at: string; code: string; message: string; rung?: string | undefined };

/** What the last run left behind. */
export type RunReport = {
  invocation: string;
  plugin: { id: string; version: string | null } | null;
  usage: Usage;
  progress: number | null;
  bootMs: number;
  hostMs: number;
  queueMs: number;
  totalMs: number;
};

export type Job = {
  id: string;
  request: JobRequest;
  state: JobState;
  priority: number;
  retries: Retries;
  singleton: string | null;
  debounce: string | null;
  cause: JobCause | null;
  createdAt: Date;
  startAfter: Date;
  startedAt: Date | null;
  endedAt: Date | null;
  keepUntil: Date | null;
  cancelAskedAt: Date | null;
  node: string | null;
  attempt: number;
  /** Executors that it had to be killed with, and nodes that were lost while they ran it. */
  kills: number;
  losses: number;
  history: Attempt[];
  /** How many events it has beside the first and the last. */
  told: number;
  progress: number | null;
  /** JSON text. */
  output: string | null;
  failure: Failure | null;
  report: RunReport | null;
};

/** A job that a node is to run now. Its settling is checked against `attempt`, and in the queue against `claim`. */
export type Claimed = {
  id: string;
  tenant: string;
  claim: number;
  attempt: number;
  /** Attempts since it was made, or redriven. */
  tries: number;
  failures: number;
  kills: number;
  losses: number;
  told: number;
  request: JobRequest;
  retries: Retries;
  history: Attempt[];
};

/** One thing that a running plugin said. */
export type JobEvent =
  | { kind: 'started'; attempt: number }
  | { kind: 'log'; lines: readonly LogLine[] }
  | { kind: 'progress'; progress: number };

/** An event with its place among those of its job. */
export type ToldEvent = { seq: number; at: Date; event: JobEvent };

/** What came of a claim. */
export type Settlement = {
  claimed: Claimed;
  /** Told since the last time. */
  events: readonly JobEvent[];
  progress: number | null;
  /** Counters as they are now. */
  failures: number;
  kills: number;
  history: readonly Attempt[];
  /** Where it has come to an end, and else when it is to be run again. */
  result:
    | {
        state: Exclude<JobState, 'waiting' | 'running'>;
        output: string | null;
        failure: Failure | null;
        report: RunReport | null;
      }
    | { againMs: number };
};

/** As it is kept: without what only we may see. */
export function failureText({ code, message, details }: Failure): string {
  const { cause: _, ...told } = details;
  return JSON.stringify({ code, message, details: told });
}

export function failureOf(text: string): Failure {
  const { code, message, details } = JSON.parse(text) as {
    code: FailureCode;
    message: string;
    details: FailureDetails;
  };
  return new Failure(code, message, details);
}
