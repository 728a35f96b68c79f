import { dirname } from 'node:path';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Plugin } from '../../core/plugin.ts';
import { DEFAULT_TENANT } from '../../core/tenant.ts';
import { type Missing, PluginFile } from '../../engine/plugin-file.ts';
import type { Tenancies } from '../../engine/tenancies.ts';
import type { App } from '../app.ts';
import { deliver } from '../stash/ui/deliver.ts';
import { tenantIn } from '../tenant-path.ts';
import { assertKey } from './keys.ts';
import { pluginIn } from './plugin-view.ts';
import { refused } from './refused.ts';
import { Errors, Key, tags } from './schemas.ts';

export type LogoRoutes = { tenancies: Pick<Tenancies, 'loaded'> };

export function logos(scope: App, { tenancies }: LogoRoutes): void {
  scope.get(
    '/plugins/:key/logo/',
    {
      // A page shows it as a picture, which has no token to show.
      config: { open: true },
      schema: {
        operationId: 'logoOfPlugin',
        summary: 'The logo.png of a plugin',
        tags,
        params: Key,
        response: {
          200: {
            description: 'The picture',
            content: { 'image/png': { schema: Type.String({ format: 'binary' }) } },
          },
          ...Errors(400, 404),
        },
      },
    },
    async (request: FastifyRequest, reply: FastifyReply) => {
      const { key } = request.params as { key: string };
      assertKey(key);
      // Whoever shows the picture has listed the plugins; for whoever only guesses names nothing is loaded.
      const tenancy = tenancies.loaded(tenantIn(request.originalUrl) ?? DEFAULT_TENANT);
      const plugin = tenancy && pluginIn(tenancy, key);
      const logo = plugin === undefined ? 'absent' : await logoOf(plugin);
      // One answer for all: whom there is, and what they have, is nobody's business.
      if (typeof logo === 'string') throw refused(404, 'Logo not found', 'not_found');
      await deliver(request, reply, {
        bytes: logo.bytes,
        etag: `"${logo.stamp}"`,
        headers: { 'content-type': 'image/png', 'cache-control': 'no-cache' },
        read: (from, length) => logo.read(from, length),
        [Symbol.asyncDispose]: () => logo[Symbol.asyncDispose](),
      });
    },
  );
}

/** Where it was found. No program can write there: theirs is a copy. */
async function logoOf({ logo = null }: Plugin): Promise<PluginFile | Missing> {
  return logo === null ? 'absent' : await PluginFile.open(dirname(logo), logo);
}
