import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyReply } from 'fastify';
import { Failure } from '../core/failure.ts';
import { hasEnded, type Job } from '../core/job.ts';
import type { JobNews, JobWatch, Owner } from '../engine/job-news.ts';
import { Signal } from './signal.ts';

/** News that were lost are made up for. */
const LOOK_MS = 2_000;
/** A database that is overloaded for a moment is given one. */
const AGAIN_MS = 500;

export type Wait = { owner: Owner; news: JobNews; ms: number; reply: FastifyReply };

/** The job when it has ended; as it is after `ms`, or when the caller has gone, or where too many wait already. */
export async function untilEnded(job: Job, { owner, news, ms, reply }: Wait): Promise<Job> {
  if (hasEnded(job)) return job;
  const until = performance.now() + ms;
  const signal = new Signal();
  using watch = watchOf(job, news, owner, signal);
  if (watch === null) return job;
  reply.raw.once('close', () => signal.set());
  for (let now = job; ; ) {
    // Looked at after the watch began: its end is either seen here or heard of.
    const seen = await unlessOverloaded(watch.job());
    now = seen ?? now;
    const left = until - performance.now();
    if (hasEnded(now) || left <= 0 || reply.raw.destroyed) return now;
    if (seen === null) await sleep(Math.min(left, pause()));
    else await signal.wait(Math.min(left, LOOK_MS));
  }
}

/** What was read; null where the store is overloaded and may be asked again after a pause. */
export async function unlessOverloaded<R>(reading: Promise<R>): Promise<R | null> {
  try {
    return await reading;
  } catch (error) {
    if (Failure.from(error).code !== 'overloaded') throw error;
    return null;
  }
}

/** Not the same for all who have to make one. */
export function pause(): number {
  return AGAIN_MS * (0.5 + Math.random());
}

/** What was asked for has been done by then: there is nothing to refuse any more. */
function watchOf(job: Job, news: JobNews, owner: Owner, signal: Signal): JobWatch | null {
  try {
    return news.watch(owner, job.id, () => signal.set());
  } catch (error) {
    if (error instanceof Failure) return null;
    throw error;
  }
}
