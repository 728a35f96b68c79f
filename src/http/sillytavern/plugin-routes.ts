import { Type } from 'typebox';
import { Failure } from '../../core/failure.ts';
import { isServer } from '../../core/plugin.ts';
import type { Tenancy } from '../../engine/tenancy.ts';
import type { App } from '../app.ts';
import { PluginParams } from '../plugins.ts';
import { OrNull, Problems } from '../schemas.ts';
import { mountAt } from './mount.ts';

const Answer = Type.Object({
  address: OrNull(Type.String(), { description: 'What its code calls itself; null where it was not heard yet' }),
  base: OrNull(Type.String(), { description: 'Its routes are below this path' }),
  name: Type.String(),
  description: Type.String(),
  routes: Type.Array(
    Type.Object({
      method: Type.String({ description: '`*` is all of them, `USE` a middleware' }),
      path: Type.String({ description: 'As it was registered, below `base`' }),
    }),
  ),
  isHeard: Type.Boolean({ description: 'Whether its code has told what it registers' }),
  hint: Type.Optional(Type.String({ description: 'What to do where it has not' })),
});

/** What there is to be asked for of a plugin that answers requests. */
export function pluginRoutes(app: App): void {
  app.get(
    '/v1/plugins/:plugin/routes',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'pluginRoutes',
        summary: 'The routes that a server plugin has registered',
        description:
          'Ask them below `base`, by any method, with any body: what comes goes to the plugin, and what it answers comes back. Isopod-User, Isopod-User-Name and Isopod-User-Admin say on whose behalf; Isopod-Request in the answer is what the request is known by in our log. Without a token, what is no GET, HEAD or OPTIONS has to show what GET /csrf-token answers in x-csrf-token.',
        tags: ['plugins'],
        params: PluginParams,
        response: { 200: Answer, ...Problems(401, 403, 404, 409, 429, 503) },
      },
    },
    async ({ params, tenancy, originalUrl }) => {
      const plugin = tenancy.plugin(params.plugin);
      if (!isServer(plugin)) throw new Failure('conflict', `Plugin "${plugin.id}" answers no requests of its own`);
      const { name, description, serves } = tenancy.portrait(plugin);
      const said = { name, description };
      if (serves === undefined)
        return { address: null, base: null, ...said, routes: [], isHeard: false, hint: hintFor(plugin.id, tenancy) };
      const { path } = mountAt(serves.id, originalUrl);
      return { address: serves.id, base: path, ...said, routes: [...serves.routes], isHeard: true };
    },
  );
}

function hintFor(plugin: string, tenancy: Tenancy): string {
  const held = tenancy.heldBack(plugin);
  if (held !== null) return held;
  if (!tenancy.isEnabled(plugin)) return 'Enable it, and it says so when it has started';
  return 'It says so when it has started; GET /v1/plugins/{plugin} and its logs say why where it does not';
}
