import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import { hasEnded, type Job, type JobWish } from '../core/job.ts';
import type { Limits } from '../core/limits.ts';
import type { TenantKeep } from '../core/tenant-store.ts';
import type { Invoker } from '../engine/invoker.ts';
import type { JobNews } from '../engine/job-news.ts';
import type { App } from './app.ts';
import { idempotencyOf } from './idempotency.ts';
import { JobAnswer, JobList, JobParams } from './job-schemas.ts';
import { jobText } from './job-text.ts';
import { untilEnded } from './job-wait.ts';
import { nothing } from './nothing.ts';
import { How, Name, requestOf, retriesOf, What } from './order-schemas.ts';
import { STATES } from './patterns.ts';
import { preferenceOf } from './prefer.ts';
import { Problems } from './schemas.ts';
import { traceparentOf } from './traceparent.ts';

export type JobRoutes = { invoker: Invoker; keep(tenant: string): Pick<TenantKeep, 'jobs'>; news: JobNews };

const DELAY_MS_MOST = 90 * 86_400_000;
/** How long whoever cancels waits to be told how it ended. */
const CANCEL_MS = 5_000;

const Body = Type.Object(
  {
    plugin: Name,
    ...What,
    ...How,
    delayMs: Type.Optional(
      Type.Integer({ minimum: 0, maximum: DELAY_MS_MOST, description: 'Not before so long from now' }),
    ),
    startAt: Type.Optional(Type.String({ format: 'date-time', description: 'Not before this time' })),
    singletonKey: Type.Optional(
      Type.String({
        ...keyOf(),
        description: 'While a job of this key waits or runs, asking again gives that one',
      }),
    ),
    debounce: Type.Optional(
      Type.Object(
        { key: Type.String(keyOf()), ms: Type.Integer({ minimum: 1, maximum: 86_400_000 }) },
        {
          additionalProperties: false,
          description:
            'It runs so long after the last time that it was asked for under this key, as it was asked for then',
        },
      ),
    ),
  },
  { additionalProperties: false, required: ['plugin'] },
);

function keyOf() {
  return { minLength: 1, maxLength: 200, pattern: '^[^\\u0000]*$' } as const;
}

type Wanted = Omit<Static<typeof Body>, 'limits'> & { limits?: Partial<Limits> };

const Query = Type.Object(
  {
    state: Type.Optional(
      Type.String({
        pattern: STATES,
        description: 'One, or several with commas between them',
      }),
    ),
    plugin: Type.Optional(Name),
    task: Type.Optional(Name),
    before: Type.Optional(Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' })),
    limit: Type.Optional(
      Type.String({ pattern: '^([1-9]|[1-9][0-9]|1[0-9][0-9]|200)$', description: '1 to 200; 50 without it' }),
    ),
  },
  { additionalProperties: false },
);

const tags = ['jobs'];

export function jobs(app: App, { invoker, keep, news }: JobRoutes): void {
  const of = (tenant: string) => keep(tenant).jobs;
  app.post(
    '/v1/jobs',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'addJob',
        summary: 'Have a task or an operation run later, whatever happens to this node',
        description:
          'It is kept when the answer comes. `Idempotency-Key` makes asking twice do once; `Prefer: wait=5` waits so many seconds for the end.',
        tags,
        body: Body,
        response: {
          200: {
            ...JobAnswer,
            description: 'It was there already, or has ended within the time that the caller waits',
          },
          202: JobAnswer,
          ...Problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
        },
      },
    },
    async (request, reply) => {
      const wanted = request.body as Wanted;
      const idempotency = idempotencyOf(request);
      await invoker.check({
        tenant: request.tenant,
        plugin: wanted.plugin,
        ...(wanted.task === undefined ? {} : { task: wanted.task }),
      });
      const wish = { ...wishOf(wanted, traceparentOf(request)), idempotency };
      const mine = of(request.tenant);
      const added = await mine.add(wish);
      const preference = preferenceOf(request.headers.prefer);
      const job =
        preference.way === 'job' && preference.waitMs > 0
          ? await untilEnded(added.job, {
              owner: { tenant: request.tenant, jobs: mine },
              news,
              ms: preference.waitMs,
              reply,
            })
          : added.job;
      const isThere = !added.isNew || hasEnded(job);
      reply.header('location', locationOf(request, job));
      if (!added.isNew && idempotency !== null) reply.header('idempotency-replayed', 'true');
      return send(reply.code(isThere ? 200 : 202), jobText(job));
    },
  );

  app.get(
    '/v1/jobs',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'listJobs',
        summary: 'Jobs, newest first',
        tags,
        querystring: Query,
        response: { 200: JobList, ...Problems(400, 401, 403, 503) },
      },
    },
    async (request, reply) => {
      const { state, plugin, task, before, limit = '50' } = request.query;
      const most = Number(limit);
      const found = await of(request.tenant).list({
        ...(state === undefined ? {} : { states: state.split(',') as Job['state'][] }),
        ...(plugin === undefined ? {} : { plugin }),
        ...(task === undefined ? {} : { task }),
        ...(before === undefined ? {} : { before }),
        limit: most + 1,
      });
      const shown = found.slice(0, most);
      const next = found.length > most ? JSON.stringify(shown.at(-1)?.id) : 'null';
      return send(reply, `{"jobs":[${shown.map((job) => jobText(job, { whole: false })).join(',')}],"next":${next}}`);
    },
  );

  app.get(
    '/v1/jobs/:job',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'getJob',
        summary: 'A job, and what came of it',
        tags,
        params: JobParams,
        response: { 200: JobAnswer, ...Problems(401, 403, 404, 410, 503) },
      },
    },
    async (request, reply) => {
      const mine = of(request.tenant);
      const job = await mine.get(request.params.job);
      return send(reply, jobText(job, { position: await mine.position(job) }));
    },
  );

  app.post(
    '/v1/jobs/:job/cancel',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'cancelJob',
        summary: 'End a job, wherever it runs',
        description: 'Waits a moment for its end; `cancel.stopped` says how far it had to be taken.',
        tags,
        params: JobParams,
        response: {
          200: { ...JobAnswer, description: 'It has ended' },
          202: { ...JobAnswer, description: 'It was told to, and has not ended yet' },
          ...Problems(401, 403, 404, 409, 410, 503),
        },
      },
    },
    async (request, reply) => {
      const mine = of(request.tenant);
      const asked = await mine.cancel(request.params.job);
      const job = await untilEnded(asked, {
        owner: { tenant: request.tenant, jobs: mine },
        news,
        ms: CANCEL_MS,
        reply,
      });
      return send(reply.code(job.state === 'running' ? 202 : 200), jobText(job));
    },
  );

  app.post(
    '/v1/jobs/:job/redrive',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'redriveJob',
        summary: 'Try a failed or dead job again, from the start',
        tags,
        params: JobParams,
        response: { 202: JobAnswer, ...Problems(401, 403, 404, 409, 410, 503) },
      },
    },
    async (request, reply) => send(reply.code(202), jobText(await of(request.tenant).redrive(request.params.job))),
  );

  app.delete(
    '/v1/jobs/:job',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'deleteJob',
        summary: 'Forget a job that has ended',
        tags,
        params: JobParams,
        response: { 204: { type: 'null', description: 'It is forgotten' }, ...Problems(401, 403, 404, 409, 410, 503) },
      },
    },
    async (request, reply) => {
      await of(request.tenant).remove(request.params.job);
      return nothing(reply);
    },
  );
}

function wishOf(wanted: Wanted, traceparent: string | undefined): Omit<JobWish, 'idempotency'> {
  const { priority = 0, delayMs, startAt, singletonKey = null, debounce } = wanted;
  if ([delayMs, startAt, debounce].filter((one) => one !== undefined).length > 1) {
    throw new Failure('invalid_request', 'Of delayMs, startAt and debounce, only one can say when it starts');
  }
  // Some that look like times are none: NaN is in no range.
  if (startAt !== undefined && !(Date.parse(startAt) <= Date.now() + DELAY_MS_MOST)) {
    const where = [{ at: '/startAt', problem: 'it may be 90 days ahead at most' }];
    throw new Failure('invalid_request', 'This is no time to start at', { where });
  }
  const start =
    debounce !== undefined
      ? { delayMs: debounce.ms }
      : startAt !== undefined
        ? { at: new Date(startAt) }
        : { delayMs: delayMs ?? 0 };
  return {
    request: requestOf(wanted, traceparent),
    priority,
    retries: retriesOf(wanted),
    start,
    singleton: singletonKey,
    debounce: debounce?.key ?? null,
    cause: null,
    ownMost: null,
  };
}

/** Where it is found by the same way that it was asked for. */
export function locationOf(request: FastifyRequest, { id }: Job): string {
  const prefix = /^\/t\/[^/]+/.exec(request.originalUrl)?.[0] ?? '';
  return `${prefix}/v1/jobs/${id}`;
}

/** It is JSON text already. */
export function send(reply: FastifyReply, text: string): FastifyReply {
  return reply.header('content-type', 'application/json; charset=utf-8').send(text);
}
