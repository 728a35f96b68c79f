import { Type } from 'typebox';
import type { Configurator, Settings as Values } from '../engine/configurator.ts';
import { MASK } from '../engine/vault.ts';
import type { App } from './app.ts';
import { etag, IfMatch, ifMatch } from './if-match.ts';
import { PluginParams } from './plugins.ts';
import { Problems } from './schemas.ts';

export type SettingsRoutes = { configurator: Configurator };

const tags = ['plugins'];

// What fits is said by the plugin's own manifest, and checked by the engine.
function Settings(description: string) {
  return Type.Unsafe<Values>({ type: 'object', additionalProperties: true, description });
}

const SECRETS = `"${MASK}" stands for what is set and is not shown; where it comes back, that stays`;

const Answer = Settings(`What is set, by key; the ETag changes with it. ${SECRETS}`);

export function settings(app: App, { configurator }: SettingsRoutes): void {
  const url = '/v1/plugins/:plugin/settings';

  app.get(
    url,
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'getSettings',
        summary: 'What is set for a plugin',
        tags,
        params: PluginParams,
        response: { 200: Answer, ...Problems(401, 403, 404, 429, 503) },
      },
    },
    async ({ params, tenancy }, reply) => {
      const state = await configurator.state(tenancy, params.plugin);
      reply.header('etag', etag(state.revision));
      return state.settings;
    },
  );

  app.put(
    url,
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'putSettings',
        summary: 'Set all settings of a plugin: what is not in the body is not set any more',
        tags,
        params: PluginParams,
        headers: IfMatch,
        body: Settings(
          `Values of the types that the plugin declares, by key; any where it has a form instead. ${SECRETS}`,
        ),
        response: { 200: Answer, ...Problems(400, 401, 403, 404, 412, 413, 429, 503) },
      },
    },
    async ({ params, headers, body, tenancy }, reply) => {
      const state = await ifMatch(headers['if-match'], (revision) =>
        configurator.replace(tenancy, params.plugin, body, revision),
      );
      reply.header('etag', etag(state.revision));
      return state.settings;
    },
  );

  app.patch(
    url,
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'patchSettings',
        summary: 'Set some settings of a plugin: null takes one away, the others stay as they are',
        tags,
        params: PluginParams,
        headers: IfMatch,
        body: Settings('Values of the types that the plugin declares, or null, by key'),
        response: { 200: Answer, ...Problems(400, 401, 403, 404, 412, 413, 429, 503) },
      },
    },
    async ({ params, headers, body, tenancy }, reply) => {
      const state = await ifMatch(headers['if-match'], (revision) =>
        configurator.merge(tenancy, params.plugin, body, revision),
      );
      reply.header('etag', etag(state.revision));
      return state.settings;
    },
  );
}
