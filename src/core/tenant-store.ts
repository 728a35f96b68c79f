import type { HeldEvent, HookPolicy } from './hook-policy.ts';
import type { Job, JobState, JobWish, ToldEvent } from './job.ts';
import type { Schedule, ScheduleWish, Trigger, TriggerWish } from './schedule.ts';

/** What is kept of one tenant, as whoever answers callers sees it. Nothing of another can be reached from here. */
export interface TenantKeep {
  readonly jobs: TenantJobs;
  readonly schedules: Orders<ScheduleWish, Schedule>;
  readonly triggers: Orders<TriggerWish, Trigger>;
  readonly answers: TenantAnswers;
  readonly events: TenantEvents;
}

/** Which jobs to list, newest first: those before the job `before`. */
export type JobFilter = {
  states?: readonly JobState[];
  plugin?: string;
  task?: string;
  before?: string;
  limit: number;
};

/** What is not there is `not_found`, and what was made longer ago than jobs are kept is `gone`. */
export interface TenantJobs {
  /** `isNew` is false for one that was there under a key. Throws `queue_full`, `quota_exceeded`, `idempotency_key_reused`. */
  add(wish: JobWish): Promise<{ job: Job; isNew: boolean }>;
  /** All of them or none. Throws as `add` does. */
  addAll(wishes: readonly JobWish[]): Promise<Job[]>;
  get(id: string): Promise<Job>;
  list(filter: JobFilter): Promise<Job[]>;
  /** The one of that number (core/job-number.ts); undefined where there is none. */
  numbered(number: number): Promise<Job | undefined>;
  /** Those that have not ended, and also those of `ids` and those made since `sinceMs`: the oldest first, in short as in `list`. */
  unended(limit: number, also?: { ids: readonly string[]; sinceMs: number }): Promise<Job[]>;
  /** How many are due before it, itself included; null unless it waits. */
  position(job: Job): Promise<number | null>;
  /** One that waits has ended then; one that runs is asked to. Throws `conflict` for one that has ended. */
  cancel(id: string): Promise<Job>;
  /** Throws `conflict` unless it has failed. */
  redrive(id: string): Promise<Job>;
  /** Throws `conflict` unless it has ended. */
  remove(id: string): Promise<void>;
  /** What it said after the event `after`. */
  events(id: string, after: number, limit: number): Promise<ToldEvent[]>;
}

/** Those after `after`, so many at most. */
export type Page = { after: string; limit: number };

/** Schedules, or triggers. */
export interface Orders<Wish, Order> {
  /** With `revision`, only if that is still the newest: else `conflict`. */
  put(id: string, wish: Wish, revision?: number): Promise<{ order: Order; isNew: boolean }>;
  /** By id. */
  list(page: Page): Promise<Order[]>;
  get(id: string): Promise<Order>;
  remove(id: string): Promise<void>;
}

/** An answer as it was given. */
export type KeptAnswer = { status: number; text: string };

/** Answers of calls that somebody waited for, under the keys of their callers. */
export interface TenantAnswers {
  /**
   * The answer of the call that was made under the key before; null: this is the first, and its answer is awaited for
   * `leaseMs`. Throws `conflict` while that call runs, `idempotency_key_reused` where it was another one.
   */
  begin(key: string, hash: Buffer, leaseMs: number): Promise<KeptAnswer | null>;
  /** From now on this is the answer. */
  keep(key: string, answer: KeptAnswer): Promise<void>;
  /** The call came to nothing that could be kept: asking again is asking anew. */
  drop(key: string): Promise<void>;
}

/** What a caller may change of a policy. */
export type HookPolicyChange = Partial<Omit<HookPolicy, 'revision'>>;

/** How events set off hooks, and the events that are kept until then. */
export interface TenantEvents {
  policy(): Promise<HookPolicy>;
  /** With `revision`, only if that is still the newest: else `conflict`. */
  change(change: HookPolicyChange, revision?: number): Promise<HookPolicy>;
  /**
   * Keeps an event as the policy wants it: gives it as it is kept now, under the id of another one that it was made one
   * with. Throws `queue_full` and `quota_exceeded`.
   */
  hold(event: Omit<HeldEvent, 'dueAt'>, policy: HookPolicy): Promise<HeldEvent>;
  /** How many are kept. */
  count(): Promise<number>;
}
