import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Failure } from '../../core/failure.ts';
import { isFalsy } from '../../core/hook.ts';
import type { Request } from '../../core/invocation.ts';
import type { Invoker, Settled } from '../../engine/invoker.ts';
import { serverTiming, timingsOf } from '../answer.ts';
import type { App } from '../app.ts';
import { traceparentOf } from '../traceparent.ts';
import { fieldsIn } from './bodies.ts';
import { sendRefused } from './details.ts';
import { isMissing, pluginIn } from './plugin-view.ts';
import { failed, Refused, refused } from './refused.ts';
import { Errors, Key, Success, tags } from './schemas.ts';

export type RunRoutes = { invoker: Invoker };

export function runs(scope: App, { invoker }: RunRoutes): void {
  scope.post(
    '/plugins/:key/run/',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'runDispatcharrAction',
        summary: 'Run an action of a plugin',
        description: 'Isopod-Invocation is the id of its run. What it returns as an error is a result, as in its host.',
        tags,
        params: Key,
        body: Type.Object({
          action: Type.String({ description: 'Any that its code knows, whether its list has it or not' }),
          params: Type.Optional(Type.Unknown()),
        }),
        response: {
          200: Success({ result: Type.Unknown() }),
          ...Errors(400, 401, 403, 404, 405, 409, 413, 429, 500, 503),
        },
      },
    },
    async (request, reply) => {
      const wanted = wantedIn(request, request.params.key);
      const running = invoker.invoke(wanted);
      request.invocation = running.id;
      reply.header('isopod-invocation', running.id);
      // Who goes away ends nothing: in its host a run goes on as well.
      return answer(reply, await running.settled);
    },
  );
}

/** In the order of the host: what is asked for, whether it may be, and whether it is there. */
function wantedIn(request: FastifyRequest, key: string): Request {
  const { tenancy } = request;
  const { action, params } = fieldsIn(request);
  const task = actionIn(action);
  const plugin = pluginIn(tenancy, key);
  if (plugin === undefined && !isMissing(tenancy, key)) throw refused(404, 'Plugin not found', 'not_found');
  const isEnabled = plugin === undefined ? tenancy.state(key)?.enabled === true : tenancy.isEnabled(key);
  if (!isEnabled) throw disabled();
  if (plugin === undefined) throw notLoaded(key, new Failure('not_found', 'Its folder is gone'));
  const traceparent = traceparentOf(request);
  return {
    tenant: request.tenant,
    plugin: key,
    task,
    // Whatever it is, but for what Python takes for nothing.
    args: (isFalsy(params) ? {} : params) as Record<string, unknown>,
    ...(traceparent === undefined ? {} : { traceparent }),
  };
}

function actionIn(action: unknown): string {
  if (typeof action === 'number' && action !== 0) return String(action);
  if (typeof action === 'string' && action !== '') return action;
  throw refused(400, "Missing 'action'");
}

function answer(reply: FastifyReply, settled: Settled): FastifyReply {
  const { outcome, isolation, request } = settled;
  reply.header('server-timing', serverTiming(timingsOf(settled)));
  if (isolation !== undefined) reply.header('isopod-isolation', isolation);
  if (request.traceparent !== undefined) reply.header('traceparent', request.traceparent);
  const output = outcome.ok ? outcome.output : returnedBy(outcome.failure);
  // What went wrong in it is in the log already.
  if (output === undefined) return sendRefused(reply, refusalOf(settled));
  return reply
    .header('content-type', 'application/json; charset=utf-8')
    .serializer(asIs)
    .send(`{"success":true,"result":${output}}`);
}

const asIs = (text: unknown) => text as string;

/** What a plugin has returned as its error, which to its host is a result; undefined for what it has not returned. */
export function returnedBy({ details: { pluginError, output } }: Failure): string | undefined {
  return pluginError?.name === 'StatusError' ? output : undefined;
}

function refusalOf({ outcome, request: { plugin } }: Settled): Refused {
  if (outcome.ok) throw new Error('There is nothing to refuse');
  const { failure } = outcome;
  const { code, details } = failure;
  if (code === 'plugin_disabled') return disabled();
  if (code === 'not_found') return refused(404, 'Plugin not found', 'not_found');
  if (code === 'plugin_boot_failed') return notLoaded(plugin, failure);
  if (code === 'plugin_error' && details.pluginError?.name === 'PermissionError') {
    return new Refused(403, failed(failure).body, failure);
  }
  return failed(failure);
}

function disabled(): Refused {
  return refused(403, 'Plugin is disabled', 'plugin_disabled');
}

/** What the host says for whatever could not be loaded; why, is told in the plugin's log. */
function notLoaded(key: string, failure: Failure): Refused {
  return new Refused(500, { success: false, error: `Plugin '${key}' not found` }, failure);
}
