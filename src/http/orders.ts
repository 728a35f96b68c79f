/** Schedules and triggers: jobs that nobody has to ask for. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import type { JobRequest } from '../core/job.ts';
import type { Limits } from '../core/limits.ts';
import {
  MISSED,
  type Schedule,
  type ScheduleWish,
  TRIGGER_ENDS,
  type Trigger,
  type TriggerWish,
} from '../core/schedule.ts';
import type { Page, TenantKeep } from '../core/tenant-store.ts';
import type { Invoker } from '../engine/invoker.ts';
import type { App } from './app.ts';
import { etag, IfMatch, ifMatch } from './if-match.ts';
import { nothing } from './nothing.ts';
import { How, Name, OrderId, RetriesShown, requestOf, retriesOf, What } from './order-schemas.ts';
import { Problems } from './schemas.ts';

export type OrderRoutes = {
  invoker: Invoker;
  keep(tenant: string): TenantKeep;
  /** The next times of a timetable. Throws `invalid_request`. */
  nextTimes(timetable: { cron: string; timeZone: string }, from: Date, count: number): Date[];
};

const Run = Type.Object({ plugin: Name, ...What }, { additionalProperties: false, required: ['plugin'] });
type Run = Omit<Static<typeof Run>, 'limits'> & { limits?: Partial<Limits> };

const Enabled = Type.Optional(Type.Boolean({ default: true }));

const ScheduleBody = Type.Object(
  {
    cron: Type.String({ maxLength: 200, description: 'Minute, hour, day of month, month, day of week' }),
    timeZone: Type.Optional(
      Type.String({ maxLength: 100, default: 'UTC', description: 'As the IANA database has it' }),
    ),
    missed: Type.Optional(
      Type.Enum([...MISSED], { default: 'skip', description: 'What is done about times at which no node was there' }),
    ),
    run: Run,
    enabled: Enabled,
    ...How,
  },
  { additionalProperties: false, required: ['cron', 'run'] },
);

const TriggerBody = Type.Object(
  {
    on: Type.Object(
      {
        plugin: Name,
        task: Type.Optional(Name),
        end: Type.Optional(Type.Enum([...TRIGGER_ENDS], { default: 'succeeded' })),
      },
      { additionalProperties: false, required: ['plugin'], description: 'Which ends of which jobs pull it' },
    ),
    run: Run,
    enabled: Enabled,
    ...How,
  },
  { additionalProperties: false, required: ['on', 'run'] },
);

const Time = Type.String({ format: 'date-time' });
const OrNull = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) => Type.Union([schema, Type.Null()]);

const RunShown = Type.Object({
  plugin: Type.String(),
  task: OrNull(Type.String()),
  args: Type.Unknown(),
  limits: Type.Unknown(),
});

const Shown = {
  id: Type.String(),
  run: RunShown,
  enabled: Type.Boolean(),
  priority: Type.Integer(),
  retries: RetriesShown,
  createdAt: Time,
  revision: Type.Integer({ description: 'Its ETag' }),
};

const ScheduleAnswer = Type.Object(
  {
    ...Shown,
    cron: Type.String(),
    timeZone: Type.String(),
    missed: Type.Enum([...MISSED]),
    next: Type.Array(Time, { description: 'The next times' }),
    lastAt: OrNull(Time),
    lastJob: OrNull(Type.String()),
  },
  { description: 'The schedule' },
);

const TriggerAnswer = Type.Object(
  {
    ...Shown,
    on: Type.Object({ plugin: Type.String(), task: OrNull(Type.String()), end: Type.Enum([...TRIGGER_ENDS]) }),
  },
  { description: 'The trigger' },
);

const NEXT_SHOWN = 5;
/** Of a list. */
const PAGE = 100;
/** What one runs is kept with it, and read again and again. */
const REQUEST_BYTES = 65_536;

const PageQuery = Type.Object(
  { after: Type.Optional(OrderId) },
  { additionalProperties: false, description: 'Those after this one: the value of `next`' },
);

export function orders(app: App, { invoker, keep, nextTimes }: OrderRoutes): void {
  const check = (tenant: string, { request: { plugin, task } }: { request: JobRequest }) =>
    invoker.check({ tenant, plugin, ...(task === null ? {} : { task }) });
  const nextOf = (schedule: Schedule) =>
    schedule.enabled ? nextTimes(schedule, new Date(), NEXT_SHOWN).map((time) => time.toISOString()) : [];
  const scheduleShown = (schedule: Schedule): Static<typeof ScheduleAnswer> => ({
    ...orderShown(schedule),
    cron: schedule.cron,
    timeZone: schedule.timeZone,
    missed: schedule.missed,
    next: nextOf(schedule),
    lastAt: schedule.lastAt?.toISOString() ?? null,
    lastJob: schedule.lastJob,
  });
  const triggerShown = (trigger: Trigger): Static<typeof TriggerAnswer> => ({ ...orderShown(trigger), on: trigger.on });

  family(app, {
    name: 'schedule',
    body: ScheduleBody,
    answer: ScheduleAnswer,
    check,
    orders: (tenant) => keep(tenant).schedules,
    shown: scheduleShown,
    wish: (body): ScheduleWish => {
      const { cron, timeZone = 'UTC', missed = 'skip', ...order } = body as Static<typeof ScheduleBody>;
      return { ...orderOf(order), cron, timeZone, missed };
    },
  });
  family(app, {
    name: 'trigger',
    body: TriggerBody,
    answer: TriggerAnswer,
    check,
    orders: (tenant) => keep(tenant).triggers,
    shown: triggerShown,
    wish: (body): TriggerWish => {
      const { on, ...order } = body as Static<typeof TriggerBody>;
      const trigger = {
        ...orderOf(order),
        on: { plugin: on.plugin, task: on.task ?? null, end: on.end ?? 'succeeded' },
      };
      refuseCircle(trigger);
      return trigger;
    },
  });
}

type Family<Wish extends { request: JobRequest }, Order extends { id: string; revision: number }> = {
  name: 'schedule' | 'trigger';
  body: typeof ScheduleBody | typeof TriggerBody;
  answer: typeof ScheduleAnswer | typeof TriggerAnswer;
  orders(tenant: string): {
    put(id: string, wish: Wish, revision?: number): Promise<{ order: Order; isNew: boolean }>;
    list(page: Page): Promise<Order[]>;
    get(id: string): Promise<Order>;
    remove(id: string): Promise<void>;
  };
  /** Rejects where what it is to run is not there. */
  check(tenant: string, wish: Wish): Promise<void>;
  shown(order: Order): unknown;
  wish(body: unknown): Wish;
};

/** The same four things can be done with both. */
function family<Wish extends { request: JobRequest }, Order extends { id: string; revision: number }>(
  app: App,
  { name, body, answer, orders: of, check, shown, wish }: Family<Wish, Order>,
): void {
  const url = `/v1/${name}s`;
  const Name = `${name.charAt(0).toUpperCase()}${name.slice(1)}`;
  const tags = ['jobs'];
  const params = Type.Object({ id: OrderId });
  const config = { scope: 'manage' } as const;

  app.get(
    url,
    {
      config,
      schema: {
        operationId: `list${Name}s`,
        summary: `All ${name}s`,
        tags,
        querystring: PageQuery,
        response: {
          200: Type.Object({ [`${name}s`]: Type.Array(answer), next: OrNull(Type.String()) }),
          ...Problems(400, 401, 403, 503),
        },
      },
    },
    async (request, reply: FastifyReply) => {
      const { after = '' } = request.query as { after?: string };
      const found = await of(request.tenant).list({ after, limit: PAGE + 1 });
      const page = found.slice(0, PAGE);
      return reply.send({ [`${name}s`]: page.map(shown), next: found.length > PAGE ? page.at(-1)?.id : null });
    },
  );

  app.get(
    `${url}/:id`,
    {
      config,
      schema: {
        operationId: `get${Name}`,
        summary: `One ${name}`,
        tags,
        params,
        response: { 200: answer, ...Problems(400, 401, 403, 404, 503) },
      },
    },
    async (request, reply) => tagged(reply, await of(request.tenant).get(idOf(request)), shown),
  );

  app.put(
    `${url}/:id`,
    {
      config,
      schema: {
        operationId: `put${Name}`,
        summary: `Make a ${name}, or replace it`,
        tags,
        params,
        headers: IfMatch,
        body,
        response: { 200: answer, 201: answer, ...Problems(400, 401, 403, 404, 412, 429, 503) },
      },
    },
    async (request, reply) => {
      const wanted = wish(request.body);
      refuseHeavy(wanted.request);
      await check(request.tenant, wanted);
      const { order, isNew } = await ifMatch(request.headers['if-match'], (revision) =>
        of(request.tenant).put(idOf(request), wanted, revision),
      );
      return tagged(reply.code(isNew ? 201 : 200), order, shown);
    },
  );

  app.delete(
    `${url}/:id`,
    {
      config,
      schema: {
        operationId: `delete${Name}`,
        summary: `Remove a ${name}; the jobs that it has made stay`,
        tags,
        params,
        response: { 204: { type: 'null', description: 'It is gone' }, ...Problems(400, 401, 403, 404, 503) },
      },
    },
    async (request, reply) => {
      await of(request.tenant).remove(idOf(request));
      return nothing(reply);
    },
  );
}

function refuseHeavy({ args, limits }: JobRequest): void {
  const observed = Buffer.byteLength(JSON.stringify({ args, limits }));
  if (observed <= REQUEST_BYTES) return;
  const limit = { name: 'run', allowed: REQUEST_BYTES, observed, unit: 'bytes' } as const;
  throw new Failure('payload_too_large', 'What it is to run with is too large to be kept here', { limit });
}

function refuseCircle({ on, request: { plugin, task } }: TriggerWish): void {
  if (on.plugin !== plugin || (on.task !== null && on.task !== task)) return;
  throw new Failure('invalid_request', 'What it runs would pull it again, in a circle', {
    where: [{ at: '/run', problem: 'the same plugin and task as in "on"' }],
  });
}

function idOf({ params }: FastifyRequest): string {
  return (params as { id: string }).id;
}

function tagged<Order extends { revision: number }>(
  reply: FastifyReply,
  order: Order,
  shown: (order: Order) => unknown,
) {
  return reply.header('etag', etag(order.revision)).send(shown(order));
}

function orderOf({
  run,
  enabled = true,
  priority = 0,
  retries,
}: {
  run: unknown;
  enabled?: boolean;
  priority?: number;
  retries?: Static<typeof How.retries> | undefined;
}) {
  return { request: requestOf(run as Run), enabled, priority, retries: retriesOf({ retries }) };
}

function orderShown({ id, request, enabled, priority, retries, createdAt, revision }: Schedule | Trigger) {
  const { plugin, task, args, limits = {} } = request;
  return {
    id,
    run: { plugin, task, args, limits },
    enabled,
    priority,
    retries,
    createdAt: createdAt.toISOString(),
    revision,
  };
}
