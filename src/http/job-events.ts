/**
 * What happens to a job, as server-sent events: `accepted`, then `started`, `log` and `progress` as they come, and
 * `outcome` last. Each is numbered, so that a client that was cut off goes on where it was (`Last-Event-ID`), at any
 * node: events are read from the store, and news of the job only say when to look.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Type } from 'typebox';
import { hasEnded, type Job } from '../core/job.ts';
import type { JobWatch } from '../engine/job-news.ts';
import type { App } from './app.ts';
import { JobParams } from './job-schemas.ts';
import { jobText } from './job-text.ts';
import { pause, unlessOverloaded } from './job-wait.ts';
import type { JobRoutes } from './jobs.ts';
import { nothing } from './nothing.ts';
import { Problems } from './schemas.ts';
import { Signal } from './signal.ts';
import { openStream, type Send } from './sse.ts';

/** News that were lost are made up for. */
const LOOK_MS = 5_000;

export function jobEvents(app: App, { keep, news }: Pick<JobRoutes, 'keep' | 'news'>): void {
  app.get(
    '/v1/jobs/:job/events',
    {
      sse: { kind: 'manual' },
      config: { scope: 'invoke' },
      schema: {
        operationId: 'jobEvents',
        summary: 'What happens to a job, as server-sent events; `outcome` is the last',
        description:
          'Events: `accepted` (the job), `started` (attempt), `log` (lines), `progress` (0 to 1), `outcome` (the job with its end). `Last-Event-ID` goes on after that event.',
        tags: ['jobs'],
        params: JobParams,
        response: {
          200: { description: 'Events', content: { 'text/event-stream': { schema: Type.String() } } },
          ...Problems(400, 401, 403, 404, 410, 429, 503),
        },
      },
    },
    async (request, reply) => {
      const mine = keep(request.tenant).jobs;
      let job = await mine.get(request.params.job);
      let last = numberOf(request.headers['last-event-id']);
      // A browser that comes back to a stream that has ended is told that there is no more.
      if (hasEnded(job) && last > job.told) return nothing(reply);

      const { send, gone } = openStream(reply);
      const signal = new Signal();
      const watching = news.watch({ tenant: request.tenant, jobs: mine }, job.id, () => signal.set());
      gone.addEventListener('abort', () => {
        watching[Symbol.dispose]();
        signal.set();
      });
      try {
        if (last < 0) await send('0', 'accepted', jobText(job, { position: await mine.position(job), whole: false }));
        last = Math.max(last, 0);
        while (!gone.aborted) {
          job = (await patiently(() => watching.job(), gone)) ?? job;
          last = await sendFrom(watching, job, last, send, gone);
          if (hasEnded(job) && last >= job.told) {
            await send(String(job.told + 1), 'outcome', jobText(job));
            return;
          }
          await signal.wait(LOOK_MS);
        }
      } catch (error) {
        // Once a stream has begun there is no other answer; whoever comes back is told why.
        if (!reply.raw.headersSent) throw error;
      } finally {
        watching[Symbol.dispose]();
      }
    },
  );
}

/** The events after `last` that it had as `job`. Gives the number of the newest. */
async function sendFrom(watch: JobWatch, job: Job, last: number, send: Send, gone: AbortSignal): Promise<number> {
  for (let sent = last; sent < job.told && !gone.aborted; ) {
    const after = sent;
    const events = await patiently(() => watch.events(after, job), gone);
    if (events === null || events.length === 0) break;
    for (const { seq, at, event } of events) {
      const { kind, ...body } = event;
      await send(String(seq), kind, JSON.stringify({ at, ...body }));
      sent = seq;
    }
    if (gone.aborted) return sent;
  }
  return Math.max(last, job.told);
}

/** A store that is overloaded for a moment cuts nobody off. Null when the client has gone. */
async function patiently<R>(read: () => Promise<R>, gone: AbortSignal): Promise<R | null> {
  while (!gone.aborted) {
    const found = await unlessOverloaded(read());
    if (found !== null) return found;
    await sleep(pause(), undefined, { signal: gone }).catch(() => {});
  }
  return null;
}

/** The number of the last event that a client has seen; -1 for none. */
function numberOf(header: string | string[] | undefined): number {
  return typeof header === 'string' && /^\d{1,9}$/.test(header) ? Number(header) : -1;
}
