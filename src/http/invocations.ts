import type { FastifyReply } from 'fastify';
import { type Static, type TInteger, Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import type { Request } from '../core/invocation.ts';
import type { LimitName } from '../core/limits.ts';
import type { Invoker, Running, Settled } from '../engine/invoker.ts';
import { answerText, reportOf, serverTiming, timingsOf } from './answer.ts';
import type { App } from './app.ts';
import { problem } from './errors.ts';
import { InvocationAnswer, Problems } from './schemas.ts';

const Params = Type.Object({ plugin: Type.String({ description: 'Id of the plugin' }) });

const atLeast = (minimum: number) => Type.Integer({ minimum });

const LowerLimits = {
  wallMs: atLeast(1),
  cpuMs: atLeast(1),
  bootMs: atLeast(1),
  heapMb: atLeast(8),
  residentMb: atLeast(16),
  outputBytes: atLeast(1),
  logBytes: atLeast(0),
  logLines: atLeast(0),
  hostCalls: atLeast(0),
  hostCallsAtOnce: atLeast(1),
} as const satisfies Record<LimitName, TInteger>;

// One schema is the validator, the type and the API reference. `args` has no schema for its keys on purpose: they are
// the plugin's own, and walking them would be paid by every call.
const Body = Type.Object(
  {
    task: Type.Optional(
      Type.String({ description: 'The task to run, as its manifest names it; without it this is an operation' }),
    ),
    args: Type.Unsafe<Record<string, unknown>>({
      type: 'object',
      additionalProperties: true,
      default: {},
      description: "Arguments for the plugin; for a task they count over the task's own defaults",
    }),
    limits: Type.Partial(Type.Object(LowerLimits), {
      additionalProperties: false,
      description: 'Lower limits for this one call; what is higher than configured has no effect',
    }),
  },
  { additionalProperties: false, required: [] },
);

const Query = Type.Object(
  { include: Type.Optional(Type.Enum(['logs'], { description: '`logs` adds what the plugin logged' })) },
  { additionalProperties: false },
);

type Wanted = Omit<Static<typeof Body>, 'limits'> & { limits?: Request['limits'] };

export function invocations(app: App, { invoker }: { invoker: Invoker }): void {
  app.post(
    '/v1/plugins/:plugin/invocations',
    {
      config: { invokes: true },
      schema: {
        operationId: 'invoke',
        summary: 'Run a task or an operation of a plugin',
        tags: ['invocations'],
        params: Params,
        querystring: Query,
        body: Body,
        response: { 200: InvocationAnswer, ...Problems(400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504) },
      },
    },
    async (request, reply) => {
      const { task, args, limits } = request.body as Wanted;
      const wanted: Request = { tenant: request.tenant, plugin: request.params.plugin, args };
      if (task !== undefined) wanted.task = task;
      if (limits !== undefined) wanted.limits = limits;
      const { traceparent } = request.headers;
      if (typeof traceparent === 'string' && TRACEPARENT.test(traceparent)) wanted.traceparent = traceparent;

      const running = invoker.invoke(wanted);
      request.invocation = running.id;
      stopWhenGone(reply, running);
      return answer(reply, await running.settled, request.query.include === 'logs');
    },
  );
}

// Not `request.signal`: Fastify fires that one as soon as the body has been read.
function stopWhenGone(reply: FastifyReply, running: Running): void {
  const gone = () => {
    if (!reply.raw.writableFinished) running.stop(new Failure('cancelled', 'The caller went away'));
  };
  if (reply.raw.destroyed) gone();
  else reply.raw.once('close', gone);
}

function answer(reply: FastifyReply, settled: Settled, logs: boolean): FastifyReply {
  const { id, request, plugin, outcome } = settled;
  const times = timingsOf(settled);
  reply.header('isopod-invocation', id).header('server-timing', serverTiming(times));
  if (request.traceparent !== undefined) reply.header('traceparent', request.traceparent);
  if (outcome.ok) {
    reply.header('content-type', 'application/json; charset=utf-8');
    return reply.send(answerText(settled, times, outcome.output, logs));
  }
  const { status, text, headers } = problem(outcome.failure, {
    invocation: id,
    ...(plugin === undefined ? {} : { plugin: { id: plugin.id, version: plugin.version } }),
    more: reportOf(settled, times, logs),
  });
  return reply.code(status).headers(headers).send(text);
}

/** https://www.w3.org/TR/trace-context/#traceparent-header */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
