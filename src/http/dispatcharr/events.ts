import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Chains } from '../../core/chain.ts';
import type { TenantKeep } from '../../core/tenant-store.ts';
import type { Dispatcher, HookRun } from '../../engine/dispatcher.ts';
import type { App } from '../app.ts';
import { callerSignal } from '../caller-signal.ts';
import { chainIn, heldOf } from '../events.ts';
import { traceparentOf } from '../traceparent.ts';
import { fieldsIn } from './bodies.ts';
import { EVENT_NAMES } from './event-names.ts';
import { errorOf, refused } from './refused.ts';
import { returnedBy } from './runs.ts';
import { Errors, Success, tags } from './schemas.ts';

export type EventRoutes = {
  dispatcher: Dispatcher;
  chains: Chains;
  keep(tenant: string): Pick<TenantKeep, 'events'>;
};

const Delivery = Type.Object({
  key: Type.String({ description: 'Of the plugin' }),
  action: Type.String(),
  success: Type.Boolean(),
  error: Type.Optional(Type.String()),
});
type Delivery = { key: string; action: string; success: boolean; error?: string };

/** The host has no such route, as it tells its plugins of its own accord. */
export function events(scope: App, routes: EventRoutes): void {
  const { dispatcher, chains } = routes;
  scope.post(
    '/events/',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'sendDispatcharrEvent',
        summary: 'Tell of something that has happened, and run the actions that list it',
        description:
          'As `POST /v1/events` does. Names that the host does not know are dropped, as there; a `note` says so.',
        tags,
        body: Type.Object({
          name: Type.Optional(Type.String({ description: 'Or as `event`' })),
          payload: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
        }),
        response: {
          200: Success({ delivered: Type.Array(Delivery), note: Type.Optional(Type.String()) }),
          ...Errors(400, 401, 403, 404, 405, 413, 429, 503, 508),
        },
      },
    },
    async (request, reply) => {
      const { tenancy } = request;
      const { name, payload } = eventIn(request);
      if (!EVENT_NAMES.includes(name)) return dropped(`Dispatcharr has no event of this name, so it was dropped`);
      const chain = chainIn(request, chains) ?? chains.presumed(request.tenant);
      const traceparent = traceparentOf(request);
      const more = traceparent === undefined ? {} : { traceparent };
      const plan = dispatcher.plan(
        tenancy,
        { type: name, object: null, input: payload, inputFields: [], ...more },
        chain,
      );
      const kept = await heldOf(tenancy, { plan, chain }, routes);
      if (kept !== null) {
        const until = kept.until === null ? 'events are no longer paused' : kept.until.toISOString();
        return dropped(`It is kept until ${until}`);
      }
      const { hooks, omitted } = await dispatcher.run(tenancy, plan, callerSignal(reply));
      const note = omitted === 0 ? {} : { note: `${omitted} further actions list it, which are too many` };
      return { success: true, delivered: hooks.map(deliveryOf), ...note } as const;
    },
  );
}

function dropped(note: string) {
  return { success: true, delivered: [] as Delivery[], note } as const;
}

function eventIn(request: FastifyRequest): { name: string; payload: unknown } {
  const { name, event, payload = {} } = fieldsIn(request);
  const type = name ?? event;
  if (typeof type !== 'string' || type === '') throw refused(400, "Missing 'name'");
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) {
    throw refused(400, "Invalid 'payload' object");
  }
  return { name: type, payload };
}

function deliveryOf(run: HookRun): Delivery {
  const known = { key: run.plugin, action: run.hook };
  if (run.status === 'skipped') return { ...known, success: false, error: run.reason };
  if (run.status === 'ran' || returnedBy(run.failure) !== undefined) return { ...known, success: true };
  return { ...known, success: false, error: errorOf(run.failure) };
}
