/**
 * What plugins tell whoever listens, as server-sent events, as it comes. Each node tells of the plugins that live on it. The
 * newest are kept for a while, for clients that were cut off (`Last-Event-ID`); who reads too slowly misses some.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import type { Updates } from '../engine/updates.ts';
import type { App } from './app.ts';
import { type AuthOptions, stillEntitled } from './auth.ts';
import { pause } from './job-wait.ts';
import { Name } from './order-schemas.ts';
import { Problems } from './schemas.ts';
import { Signal } from './signal.ts';
import { openStream } from './sse.ts';

export type UpdateRoutes = { updates: Updates };

/** So often it is found out again who listens, where nothing comes. */
const LOOK_MS = 5_000;

const Query = Type.Object({ plugin: Type.Optional(Name) }, { additionalProperties: false });

type Rights = Pick<AuthOptions, 'bearers' | 'tenancies'>;

export function updates(app: App, { updates: all, bearers, tenancies }: UpdateRoutes & Rights): void {
  const rights = { bearers, tenancies };
  app.get(
    '/v1/updates',
    {
      sse: { kind: 'manual' },
      config: { scope: 'invoke' },
      schema: {
        operationId: 'updates',
        summary: 'What plugins tell whoever listens, as server-sent events',
        description:
          'Events: `update`, with `at`, `plugin`, `invocation` (null for what a plugin tells of its own accord), `group`, `event` and `data`. Those of plugins that live on this node, from now on; with `Last-Event-ID`, all that is kept since that one: up to 200.',
        tags: ['plugins'],
        querystring: Query,
        response: {
          200: { description: 'Events', content: { 'text/event-stream': { schema: Type.String() } } },
          ...Problems(400, 401, 403, 404, 429, 503),
        },
      },
    },
    async (request, reply) => {
      const { send, gone } = openStream(reply);
      const signal = new Signal();
      const last = request.headers['last-event-id'];
      const wanted = { after: typeof last === 'string' ? last : undefined, plugin: request.query.plugin };
      using listening = all.listen(request.tenancy, wanted, () => signal.set());
      gone.addEventListener('abort', () => signal.set());
      // So that the client knows that it is heard, however long nothing comes.
      reply.sse.sendHeaders();
      reply.raw.flushHeaders();
      for (;;) {
        if (!(await isEntitled(request, rights, gone)) || listening.isOver) return;
        request.tenancy.usedAt = performance.now();
        const next = listening.next();
        if (next === undefined) await signal.wait(LOOK_MS);
        else await send(next.id, 'update', next.text);
      }
    },
  );
}

/** A database that is overloaded for a moment takes nobody's rights, and gives none: until it answers, nothing is told. */
async function isEntitled(request: FastifyRequest, rights: Rights, gone: AbortSignal): Promise<boolean> {
  while (!gone.aborted) {
    try {
      await stillEntitled(request, rights);
      return true;
    } catch (error) {
      if (Failure.from(error).code !== 'overloaded') return false;
    }
    await sleep(pause(), undefined, { signal: gone }).catch(() => {});
  }
  return false;
}
