import { type Static, Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import { hooksFor, hooksIn } from '../core/hook.ts';
import { HOOK_ORDERS, type HookPolicy } from '../core/hook-policy.ts';
import type { HookPolicyChange, TenantKeep } from '../core/tenant-store.ts';
import type { Configurator } from '../engine/configurator.ts';
import type { Tenancy } from '../engine/tenancy.ts';
import type { App } from './app.ts';
import { etag, IfMatch, ifMatch } from './if-match.ts';
import { OrNull, Problems } from './schemas.ts';

export type HookRoutes = { configurator: Configurator; keep(tenant: string): Pick<TenantKeep, 'events'> };

const closed = { additionalProperties: false } as const;
const HOUR_MS = 3_600_000;
const Ms = (description: string) => Type.Integer({ minimum: 1, maximum: HOUR_MS, description });

const Policy = {
  order: Type.Enum([...HOOK_ORDERS], {
    description: 'One hook after the other, or plugins side by side and the hooks of each one after the other',
  }),
  paused: Type.Boolean({ description: 'Events are kept until this is false again' }),
  defer: OrNull(
    Type.Object(
      {
        how: Type.Enum(['batch', 'debounce'], {
          description:
            'All events are kept for `ms` after the first of them; or those of the same type and object become one, which is due `ms` after the last of them',
        }),
        ms: Ms('How long events are kept'),
        mostMs: Type.Optional(Ms('What is debounced is due so long after its first event at the latest')),
      },
      closed,
    ),
    { description: 'Null runs hooks at once' },
  ),
};

const Change = Type.Partial(Type.Object(Policy), closed);

const Answer = Type.Object(
  {
    ...Policy,
    held: Type.Integer({ description: 'Events that are kept now' }),
    triggers: Type.Array(
      Type.Object({
        trigger: Type.String(),
        hooks: Type.Array(Type.Object({ plugin: Type.String(), hook: Type.String() })),
      }),
      { description: 'Which hooks of enabled plugins each trigger sets off, in their order' },
    ),
  },
  { description: 'How events set off hooks; the ETag changes with it' },
);

const tags = ['hooks'];

export function hooks(app: App, { configurator, keep }: HookRoutes): void {
  app.get(
    '/v1/hooks',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'getHooks',
        summary: 'How events set off hooks, and which',
        tags,
        response: { 200: Answer, ...Problems(401, 403, 404, 429, 503) },
      },
    },
    async ({ tenancy }, reply) => {
      const { events } = keep(tenancy.id);
      const policy = await events.policy();
      reply.header('etag', etag(policy.revision));
      return shown(policy, await events.count(), tenancy);
    },
  );

  app.patch(
    '/v1/hooks',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'changeHooks',
        summary: 'Change what is named of how events set off hooks',
        description: 'Nothing that is kept is lost: what is paused goes out in its order when that is over.',
        tags,
        headers: IfMatch,
        body: Change,
        response: { 200: Answer, ...Problems(400, 401, 403, 404, 412, 429, 503) },
      },
    },
    async ({ tenancy, headers, body }, reply) => {
      const policy = await ifMatch(headers['if-match'], (revision) =>
        configurator.changeHooks(tenancy, changeOf(body), revision),
      );
      reply.header('etag', etag(policy.revision));
      return shown(policy, await keep(tenancy.id).events.count(), tenancy);
    },
  );
}

function changeOf({ defer, ...change }: Static<typeof Change>): HookPolicyChange {
  if (defer === undefined || defer === null) return defer === undefined ? change : { ...change, defer };
  const { how, ms, mostMs } = defer;
  if (how === 'batch') {
    if (mostMs !== undefined) throw wrong('is for "debounce" only');
    return { ...change, defer: { how, ms } };
  }
  if (mostMs === undefined) throw wrong('is missing: "debounce" needs it');
  if (mostMs < ms) throw wrong('must not be less than ms');
  return { ...change, defer: { how, ms, mostMs } };
}

function wrong(problem: string): Failure {
  return new Failure('invalid_request', `The body does not fit its schema: /defer/mostMs ${problem}`, {
    where: [{ at: '/defer/mostMs', problem }],
  });
}

function shown({ order, paused, defer }: HookPolicy, held: number, tenancy: Tenancy): Static<typeof Answer> {
  return { order, paused, defer, held, triggers: triggersOf(tenancy) };
}

function triggersOf(tenancy: Tenancy): Static<typeof Answer>['triggers'] {
  const byTrigger = new Map<string, { plugin: string; hook: string }[]>();
  for (const plugin of tenancy.catalogue.plugins.values()) {
    if (!tenancy.isEnabled(plugin.id)) continue;
    const entries = tenancy.entries(plugin);
    const triggers = hooksIn(entries).flatMap((one) => one.triggeredBy);
    for (const trigger of new Set(triggers)) {
      const listeners = byTrigger.get(trigger) ?? [];
      for (const { name } of hooksFor(entries, trigger)) listeners.push({ plugin: plugin.id, hook: name });
      byTrigger.set(trigger, listeners);
    }
  }
  return [...byTrigger]
    .map(([trigger, all]) => ({ trigger, hooks: all }))
    .sort((a, b) => (a.trigger < b.trigger ? -1 : 1));
}
