import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Request } from '../core/invocation.ts';
import { type Job, wishFor } from '../core/job.ts';
import type { LogLine } from '../core/outcome.ts';
import type { TenantJobs, TenantKeep } from '../core/tenant-store.ts';
import type { Invoker, Settled } from '../engine/invoker.ts';
import type { JobNews } from '../engine/job-news.ts';
import { answerText, reportOf, serverTiming, type Timings, timingsOf } from './answer.ts';
import type { App } from './app.ts';
import { stopWhenGone } from './caller-signal.ts';
import { type Problem, problem } from './errors.ts';
import { type Idempotency, idempotencyOf } from './idempotency.ts';
import { JobAnswer } from './job-schemas.ts';
import { jobText, settledOf } from './job-text.ts';
import { untilEnded } from './job-wait.ts';
import { locationOf, send } from './jobs.ts';
import { answerOnce } from './once.ts';
import { What } from './order-schemas.ts';
import { preferenceOf } from './prefer.ts';
import { InvocationAnswer, Problems } from './schemas.ts';
import { traceparentOf } from './traceparent.ts';

const Params = Type.Object({ plugin: Type.String({ description: 'Id of the plugin' }) });

// One schema is the validator, the type and the API reference.
const Body = Type.Object({ ...What }, { additionalProperties: false, required: [] });

const Query = Type.Object(
  { include: Type.Optional(Type.Enum(['logs'], { description: '`logs` adds what the plugin logged' })) },
  { additionalProperties: false },
);

type Wanted = Omit<Static<typeof Body>, 'limits'> & { limits?: Request['limits'] };

export type InvocationRoutes = {
  invoker: Invoker;
  keep(tenant: string): Pick<TenantKeep, 'jobs' | 'answers'>;
  news: JobNews;
  /** The longest that a call can take, in ms: until then its idempotency key is taken. */
  longestMs: number;
};

export function invocations(app: App, { invoker, keep, news, longestMs }: InvocationRoutes): void {
  app.post(
    '/v1/plugins/:plugin/invocations',
    {
      config: { invokes: true, scope: 'invoke' },
      schema: {
        operationId: 'invoke',
        summary: 'Run a task or an operation of a plugin',
        description:
          'With `Prefer: respond-async` it becomes a job; with `Prefer: wait=5` it does where it takes longer than so many seconds. With an `Idempotency-Key` it is done once, and the answer is given again.',
        tags: ['invocations'],
        params: Params,
        querystring: Query,
        body: Body,
        response: {
          200: InvocationAnswer,
          202: { ...JobAnswer, description: 'It goes on as a job' },
          ...Problems(400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504),
        },
      },
    },
    async (request, reply) => {
      const { task, args, limits } = request.body as Wanted;
      const wanted: Request = { tenant: request.tenant, plugin: request.params.plugin, args };
      if (task !== undefined) wanted.task = task;
      if (limits !== undefined) wanted.limits = limits;
      const traceparent = traceparentOf(request);
      if (traceparent !== undefined) wanted.traceparent = traceparent;
      const logs = request.query.include === 'logs';
      const { prefer, 'idempotency-key': key } = request.headers;
      if (prefer !== undefined) {
        const preference = preferenceOf(prefer);
        if (preference.way === 'job') {
          return invokeAsJob(request, reply, wanted, { invoker, keep, news, waitMs: preference.waitMs, logs });
        }
      }
      if (key !== undefined) return invokeOnce(request, reply, wanted, { invoker, keep, leaseMs: longestMs, logs });

      const running = invoker.invoke(wanted);
      request.invocation = running.id;
      stopWhenGone(reply, running);
      return answer(reply, await running.settled, logs);
    },
  );
}

type AsJob = Pick<InvocationRoutes, 'invoker' | 'keep' | 'news'> & { waitMs: number; logs: boolean };

/** The answer where it has ended within the time that the caller waits, else the job that it is. */
async function invokeAsJob(
  request: FastifyRequest,
  reply: FastifyReply,
  wanted: Request,
  { invoker, keep, news, waitMs, logs }: AsJob,
): Promise<FastifyReply> {
  await invoker.check(wanted);
  const { jobs } = keep(wanted.tenant);
  const { plugin, task = null, args, limits, traceparent } = wanted;
  const what = {
    plugin,
    task,
    args,
    ...(limits === undefined ? {} : { limits }),
    ...(traceparent === undefined ? {} : { traceparent }),
  };
  const added = await jobs.add(wishFor(what, { idempotency: idempotencyOf(request) }));
  const job =
    waitMs === 0
      ? added.job
      : await untilEnded(added.job, { owner: { tenant: wanted.tenant, jobs }, news, ms: waitMs, reply });
  reply.header('location', locationOf(request, job)).header('preference-applied', applied(waitMs));
  const settled = settledOf(job, logs ? await logsOf(jobs, job) : []);
  if (settled === null) return send(reply.code(202), jobText(job));
  return answer(reply, { ...settled, request: wanted, isolation: undefined }, logs);
}

function applied(waitMs: number): string {
  return waitMs === 0 ? 'respond-async' : `wait=${waitMs / 1_000}`;
}

async function logsOf(jobs: TenantJobs, { id, told }: Job): Promise<LogLine[]> {
  const events = await jobs.events(id, 0, told);
  return events.flatMap(({ event }) => (event.kind === 'log' ? event.lines : []));
}

type Once = Pick<InvocationRoutes, 'invoker' | 'keep'> & { leaseMs: number; logs: boolean };

/** Runs it the first time, and answers the same again after that. */
async function invokeOnce(
  request: FastifyRequest,
  reply: FastifyReply,
  wanted: Request,
  { invoker, keep, leaseMs, logs }: Once,
): Promise<FastifyReply> {
  const idempotency = idempotencyOf(request) as Idempotency;
  const { answers } = keep(wanted.tenant);
  return await answerOnce(request, reply, { ...idempotency, answers, leaseMs }, async () => {
    const running = invoker.invoke(wanted);
    request.invocation = running.id;
    stopWhenGone(reply, running);
    const settled = await running.settled;
    const { outcome } = settled;
    // What did not happen may be asked for again under the same key.
    const happened = outcome.ok || outcome.failure.blame === 'plugin';
    const { status, text } = answered(settled, timingsOf(settled), logs);
    return { kept: happened ? { status, text } : null, send: () => answer(reply, settled, logs) };
  });
}

type Answered = Omit<Settled, 'plugin'> & { plugin: { id: string; version: string | null } | undefined };

function answer(reply: FastifyReply, settled: Answered, logs: boolean): FastifyReply {
  const { id, request } = settled;
  const times = timingsOf(settled);
  reply.header('isopod-invocation', id).header('server-timing', serverTiming(times));
  if (settled.isolation !== undefined) reply.header('isopod-isolation', settled.isolation);
  if (request.traceparent !== undefined) reply.header('traceparent', request.traceparent);
  const { status, text, headers } = answered(settled, times, logs);
  return reply.code(status).headers(headers).send(text);
}

function answered(settled: Answered, times: Timings, logs: boolean): Problem {
  const { id, plugin, outcome } = settled;
  if (outcome.ok) return { status: 200, text: answerText(settled, times, outcome.output, logs), headers: JSON_TYPE };
  return problem(outcome.failure, {
    invocation: id,
    ...(plugin === undefined ? {} : { plugin: { id: plugin.id, version: plugin.version } }),
    more: reportOf(settled, times, logs),
  });
}

const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' };
