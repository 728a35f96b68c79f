import type { FastifyReply, FastifyRequest } from 'fastify';
import { CHAIN_HEADER } from '../core/application.ts';
import type { Chain, Chains } from '../core/chain.ts';
import { Failure } from '../core/failure.ts';
import type { EventWish } from '../core/hook.ts';
import { type HeldBecause, type HeldEvent, heldBecause } from '../core/hook-policy.ts';
import { hasEnded } from '../core/job.ts';
import type { Limits } from '../core/limits.ts';
import type { TenantKeep } from '../core/tenant-store.ts';
import type { Dispatcher, Plan } from '../engine/dispatcher.ts';
import type { JobNews } from '../engine/job-news.ts';
import type { Tenancy } from '../engine/tenancy.ts';
import type { App } from './app.ts';
import { callerSignal } from './caller-signal.ts';
import { attributesIn, CLOUD_EVENT, type CloudEvent, deliveryOf, objectOf, triggerOf } from './cloud-events.ts';
import { EventAccepted, EventAnswer, EventBody, StructuredBody } from './event-schemas.ts';
import { dispatchedText, heldText, queuedText } from './event-text.ts';
import { type Idempotency, idempotencyOf } from './idempotency.ts';
import { untilEnded } from './job-wait.ts';
import { locationOf, send } from './jobs.ts';
import { addJsonParser } from './json.ts';
import { answerOnce, type Done } from './once.ts';
import { type Preference, preferenceOf } from './prefer.ts';
import { Problems } from './schemas.ts';
import { traceparentOf } from './traceparent.ts';

export type EventRoutes = {
  dispatcher: Dispatcher;
  chains: Chains;
  keep(tenant: string): Pick<TenantKeep, 'jobs' | 'answers' | 'events'>;
  news: JobNews;
  /** The longest that one hook can take, in ms. */
  longestMs: number;
};

/** What was sent, whichever form it came in. */
type Sent = { wish: EventWish; delivery: Idempotency | null };

const HEADER_LETTERS = 16_000;

/** In a scope of their own: nowhere else is a CloudEvent a body. */
export async function events(app: App, routes: EventRoutes): Promise<void> {
  await app.register(async (scope: App) => {
    addJsonParser(scope, CLOUD_EVENT);
    scope.decorateRequest('attributes', null);

    scope.post(
      '/v1/events',
      {
        config: {
          scope: 'invoke',
          takes: `JSON, sent with "Content-Type: application/json" or, for a CloudEvent in the structured form, "${CLOUD_EVENT}"`,
        },
        preValidation: async (request) => readAttributes(request),
        schema: {
          operationId: 'sendEvent',
          summary: 'Tell of something that has happened, and run the hooks that it sets off',
          description:
            'In our own form, or as a CloudEvent 1.0, of which the same `source` and `id` are done once. It is answered when all hooks have been run; with `Prefer: respond-async` each becomes a job. Where the tenant has its events deferred or paused, it is kept. What a plugin has led to comes with the header `Isopod-Hook-Chain` that its request had.',
          tags: ['hooks'],
          body: {
            content: {
              'application/json': { schema: EventBody },
              [CLOUD_EVENT]: { schema: StructuredBody },
            },
          },
          response: {
            200: EventAnswer,
            202: EventAccepted,
            ...Problems(400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 508),
          },
        },
      },
      async (request, reply) => {
        const { wish, delivery } = sentIn(request);
        const chain = chainIn(request, routes.chains) ?? routes.chains.presumed(request.tenant);
        const preference = preferenceOf(request.headers.prefer);
        const plan = routes.dispatcher.plan(request.tenancy, wish, chain);
        const take = () => taken(request, reply, { plan, chain, preference, routes });
        const idempotency = idempotencyOf(request) ?? delivery;
        if (idempotency === null) return (await take()).send();
        // One after the other, each may take that long.
        const leaseMs = routes.longestMs * Math.max(1, plan.steps.length);
        const { answers } = routes.keep(request.tenant);
        return answerOnce(request, reply, { ...idempotency, answers, leaseMs }, take);
      },
    );
  });
}

type Taking = { plan: Plan; chain: Chain | null; preference: Preference; routes: EventRoutes };

async function taken(request: FastifyRequest, reply: FastifyReply, taking: Taking): Promise<Done> {
  const { plan, chain, preference, routes } = taking;
  const { tenancy } = request;
  const { dispatcher } = routes;
  const kept = await heldOf(tenancy, { plan, chain }, routes);
  if (kept !== null) {
    const { held, until, why } = kept;
    const known = { id: held.id, type: plan.event.type, object: plan.event.object };
    return answered(reply, 202, heldText(known, held.chain ?? { ...plan.chain, root: held.id }, { until, why }));
  }
  if (preference.way === 'job') return await queued(request, reply, { ...taking, waitMs: preference.waitMs });
  const signal = callerSignal(reply);
  const dispatched = await dispatcher.run(tenancy, plan, signal);
  const done = answered(reply, 200, dispatchedText(dispatched));
  // Some were not run: whoever sends it again wants them to be.
  return signal.aborted ? { ...done, kept: null } : done;
}

type Kept = { held: HeldEvent; until: Date | null; why: HeldBecause };

/** Keeps an event where its tenant has them kept; null where its hooks are to be run at once. */
export async function heldOf(
  tenancy: Tenancy,
  { plan, chain }: Pick<Taking, 'plan' | 'chain'>,
  { dispatcher, keep }: Pick<EventRoutes, 'dispatcher'> & { keep(tenant: string): Pick<TenantKeep, 'events'> },
): Promise<Kept | null> {
  const { hookPolicy: policy } = tenancy;
  const why = heldBecause(policy);
  if (why === null) return null;
  dispatcher.refuseLoop(plan);
  dispatcher.refuseHeld(plan);
  const held = await keep(tenancy.id).events.hold({ id: plan.event.id, wish: plan.wish, chain }, policy);
  return { held, until: why === 'paused' ? null : held.dueAt, why };
}

async function queued(
  request: FastifyRequest,
  reply: FastifyReply,
  { plan, routes, waitMs }: Taking & { waitMs: number },
): Promise<Done> {
  const { dispatcher, keep, news } = routes;
  dispatcher.admit(request.tenancy, plan);
  const { jobs } = keep(request.tenant);
  const added = await jobs.addAll(dispatcher.wishes(plan));
  reply.header('preference-applied', waitMs === 0 ? 'respond-async' : `wait=${waitMs / 1_000}`);
  const until = performance.now() + waitMs;
  const owner = { tenant: request.tenant, jobs };
  for (const [at, job] of added.entries()) {
    const ms = until - performance.now();
    if (ms <= 0) break;
    added[at] = await untilEnded(job, { owner, news, ms, reply });
  }
  const status = waitMs > 0 && added.every(hasEnded) ? 200 : 202;
  return answered(
    reply,
    status,
    queuedText(plan, added, (job) => locationOf(request, job)),
  );
}

function answered(reply: FastifyReply, status: number, text: string): Done {
  return { kept: { status, text }, send: () => send(reply.code(status), text) };
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The CloudEvent whose data the body is, where its attributes came as headers. */
    attributes: CloudEvent<never> | null;
  }
}

/** Of a CloudEvent in the binary form the body is the data: what is missing to our own form is the type. */
function readAttributes(request: FastifyRequest): void {
  const structured = mediaTypeOf(request) === CLOUD_EVENT;
  request.attributes = structured ? null : attributesIn(request.headers);
  if (request.body === undefined && request.attributes === null) {
    throw new Failure('invalid_request', 'The body is empty; send the event in it');
  }
  if (request.attributes === null) return;
  const { body = {} } = request;
  if (typeof body !== 'object' || body === null || Array.isArray(body) || Object.hasOwn(body, 'type')) {
    throw new Failure('invalid_request', 'The data of the CloudEvent is not an object with id, input and inputFields');
  }
  request.body = { ...body, type: triggerOf(request.attributes.type) };
}

function mediaTypeOf({ headers }: FastifyRequest): string {
  return (headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

function sentIn(request: FastifyRequest): Sent {
  const traceparent = traceparentOf(request);
  const more = traceparent === undefined ? {} : { traceparent };
  if (mediaTypeOf(request) === CLOUD_EVENT) {
    const event = request.body as StructuredBody;
    const { id, input = null, inputFields = [] } = event.data ?? {};
    const object = objectOf(event.subject, id);
    return { wish: { type: triggerOf(event.type), object, input, inputFields, ...more }, delivery: deliveryOf(event) };
  }
  const { type, id, input = null, inputFields = [], limits } = request.body as EventBody;
  const { attributes } = request;
  const own = limits === undefined ? {} : { limits: limits as Partial<Limits> };
  const wish = { type, object: objectOf(attributes?.subject, id), input, inputFields, ...own, ...more };
  return { wish, delivery: attributes === null ? null : deliveryOf(attributes) };
}

/** What led to the event, as we have told the application. Throws `invalid_request`. */
export function chainIn({ headers, tenant }: FastifyRequest, chains: Chains): Chain | null {
  const text = headers[CHAIN_HEADER];
  if (text === undefined || text === '') return null;
  const chain = typeof text === 'string' && text.length <= HEADER_LETTERS ? chains.open(tenant, text) : null;
  if (chain !== null) return chain;
  throw new Failure('invalid_request', 'The header Isopod-Hook-Chain is none that was given to this tenant here', {
    where: [{ at: CHAIN_HEADER, problem: 'must be passed on as it came' }],
  });
}
