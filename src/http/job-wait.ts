import type { FastifyReply } from 'fastify';
import { Failure } from '../core/failure.ts';
import { hasEnded, type Job } from '../core/job.ts';
import type { TenantJobs } from '../core/tenant-store.ts';
import type { JobNews } from '../engine/job-news.ts';
import { Signal } from './signal.ts';

/** News that were lost are made up for. */
const LOOK_MS = 2_000;

export type Wait = { jobs: TenantJobs; news: JobNews; ms: number; reply: FastifyReply };

/** The job when it has ended; as it is after `ms`, or when the caller has gone. */
export async function untilEnded(job: Job, { jobs, news, ms, reply }: Wait): Promise<Job> {
  if (hasEnded(job)) return job;
  const until = performance.now() + ms;
  const signal = new Signal();
  using _watch = news.watch(reply.request.tenant, job.id, () => signal.set());
  reply.raw.once('close', () => signal.set());
  for (;;) {
    // Looked at after the watch began: its end is either seen here or heard of.
    const now = await jobs.get(job.id).catch((error: unknown) => {
      // It has been accepted: whoever is told that it was not would ask for another.
      if (Failure.from(error).code === 'overloaded') return job;
      throw error;
    });
    const left = until - performance.now();
    if (hasEnded(now) || left <= 0 || reply.raw.destroyed) return now;
    await signal.wait(Math.min(left, LOOK_MS));
  }
}
