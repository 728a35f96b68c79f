import { Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import { isResident } from '../core/plugin.ts';
import type { PluginLogs } from '../engine/plugin-logs.ts';
import type { Residencies } from '../engine/residencies.ts';
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
  app.post(
    '/v1/plugins/:plugin/reload',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'reloadPlugin',
        summary: 'Stop a program that stays between calls, and forget how it has done; it is started anew soon',
        description:
          'Nobody else is touched, and its files are looked at again. A plugin whose program ends with each call has nothing to be renewed: 409.',
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
      await residencies.renew(tenancy, plugin);
      return summaryOf(plugin, tenancy, residencies);
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
