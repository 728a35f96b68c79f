import { Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import { isResident, type Plugin } from '../core/plugin.ts';
import type { PluginLogs } from '../engine/plugin-logs.ts';
import type { Residencies } from '../engine/residencies.ts';
import type { Tenancy } from '../engine/tenancy.ts';
import type { App } from './app.ts';
import { summaryOf } from './plugin-summary.ts';
import { PluginParams } from './plugins.ts';
import { PluginLogList, PluginSummary, Problems } from './schemas.ts';

export type ResidentRoutes = { residencies: Residencies; logs: PluginLogs };

const LINES = 100;

const Query = Type.Object(
  {
    limit: Type.Optional(
      Type.String({ pattern: '^([1-9]|[1-9][0-9]{1,2}|1000)$', description: `1 to 1000; ${LINES} without it` }),
    ),
  },
  { additionalProperties: false },
);

const tags = ['plugins'];

/** What there is to see and to do where a program stays between calls. */
export function residents(app: App, { residencies, logs }: ResidentRoutes): void {
  /** As it is by now; that it does not start is seen in its state. */
  const renewed = async (tenancy: Tenancy, id: string): Promise<Plugin> => {
    const plugin = tenancy.plugin(id);
    if (tenancy.isEnabled(id)) await residencies.start(tenancy, plugin).catch(Failure.from);
    return plugin;
  };

  app.post(
    '/v1/plugins/:plugin/reload',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'reloadPlugin',
        summary: 'Stop a program that stays between calls, read its files again, and start it where it is enabled',
        description:
          'Answered when it is up, or could not be started: `resident` says which. How often it has died is forgotten. Of others, those whose files have changed are renewed as well. A plugin whose program ends with each call has nothing to be renewed: 409.',
        tags,
        params: PluginParams,
        response: { 200: PluginSummary, ...Problems(401, 403, 404, 409, 429, 503) },
      },
    },
    async ({ params, tenancy }) => {
      const plugin = tenancy.plugin(params.plugin);
      if (!isResident(plugin)) {
        const words = `Nothing of plugin "${plugin.id}" stays between calls, so there is nothing to renew`;
        throw new Failure('conflict', `${words}: POST /v1/plugins/reload reads all manifests again`);
      }
      await residencies.stop(tenancy, plugin, 'reload');
      await tenancy.reload();
      return summaryOf(await renewed(tenancy, plugin.id), tenancy, residencies);
    },
  );

  app.delete(
    '/v1/plugins/:plugin/data',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'emptyPlugin',
        summary: 'Take away all that a program that stays has kept in its folders; what is set for it stays',
        tags,
        params: PluginParams,
        response: {
          204: { type: 'null', description: 'It is empty, and started anew where it is enabled' },
          ...Problems(401, 403, 404, 409, 429, 503),
        },
      },
    },
    async ({ params, tenancy }, reply) => {
      const plugin = tenancy.plugin(params.plugin);
      if (!isResident(plugin))
        throw new Failure('conflict', `Plugin "${plugin.id}" keeps nothing in folders of its own`);
      await residencies.empty(tenancy, plugin);
      return reply.code(204).send(null);
    },
  );

  app.get(
    '/v1/plugins/:plugin/logs',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'pluginLogs',
        summary: 'What a plugin has logged last on this node',
        description:
          'Of a program that stays between calls all that is kept of it; of others what is among the newest 30 lines of all plugins.',
        tags,
        params: PluginParams,
        querystring: Query,
        response: { 200: PluginLogList, ...Problems(400, 401, 403, 404, 429, 503) },
      },
    },
    async ({ params, query: { limit = String(LINES) }, tenancy }) => {
      const plugin = tenancy.plugin(params.plugin);
      const all = isResident(plugin) ? residencies.logs(tenancy, plugin) : logs.newestOf(tenancy, plugin.id);
      const lines = all.slice(-Number(limit));
      return {
        lines: lines.map(({ at, level, message, invocation }) => ({
          at: at.toISOString(),
          level,
          message,
          invocation,
        })),
      };
    },
  );
}
