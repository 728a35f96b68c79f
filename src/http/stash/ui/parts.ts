/** The parts of plugins that a page loads: scripts, styles and whatever else lies in their folders. */
import { join } from 'node:path';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Failure } from '../../../core/failure.ts';
import type { Plugin } from '../../../core/plugin.ts';
import { Bundles, type LeftOut } from '../../../engine/bundles.ts';
import { PluginFile } from '../../../engine/plugin-file.ts';
import type { Tenancy } from '../../../engine/tenancy.ts';
import type { App } from '../../app.ts';
import { HttpFailure } from '../../errors.ts';
import { PluginParams } from '../../plugins.ts';
import { Problems } from '../../schemas.ts';
import { assetPath } from './asset-path.ts';
import { deliver } from './deliver.ts';
import { mediaTypeOf } from './media-type.ts';
import { isExternal } from './paths.ts';

const tags = ['user interface'];

const KINDS = {
  javascript: { type: 'text/javascript', what: 'The scripts of a plugin that lie in its folder, as one' },
  css: { type: 'text/css', what: 'The styles of a plugin that lie in its folder, as one' },
} as const;

const Query = Type.Object({
  t: Type.Optional(
    Type.Unknown({ description: 'With it, the answer may be kept for ever: another version has another' }),
  ),
});

const AssetParams = Type.Object({
  ...PluginParams.properties,
  '*': Type.String({ description: 'Its path, as the manifest maps it' }),
});

const File = { schema: Type.String({ format: 'binary' }) };

export function uiParts(app: App): void {
  const bundles = new Bundles();
  for (const kind of ['javascript', 'css'] as const) {
    const { type, what } = KINDS[kind];
    app.get(
      `/plugin/:plugin/${kind}`,
      {
        config: { scope: 'invoke' },
        schema: {
          operationId: `${kind}OfPlugin`,
          summary: what,
          description: 'The header Isopod-Left-Out names those that could not be read, by their place in the manifest.',
          tags,
          params: PluginParams,
          querystring: Query,
          response: {
            200: { description: 'All of them, each with a line feed after it', content: { [type]: File } },
            ...Problems(400, 401, 403, 404, 412, 416, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const plugin = shown(request.tenancy, request.params.plugin);
        const all = plugin.ui?.[kind] ?? [];
        const local = [...all.entries()].filter(([, part]) => !isExternal(part));
        const { hash, ...bundle } = await bundles.read(
          request.tenant,
          plugin,
          local.map(([, part]) => part),
        );
        const leftOut = bundle.leftOut.map(({ at, why }) => ({ at: local[at]?.[0] ?? at, why }));
        const headers = {
          'content-type': `${type}; charset=utf-8`,
          'cache-control': leftOut.length === 0 ? keeping(request) : 'no-cache',
          ...(leftOut.length === 0 ? {} : { 'isopod-left-out': named(leftOut) }),
        };
        await deliver(request, reply, { ...bundle, etag: `"${hash}"`, headers });
      },
    );
  }

  for (const [url, operationId] of [
    ['/plugin/:plugin/assets', 'indexOfPlugin'],
    ['/plugin/:plugin/assets/*', 'assetOfPlugin'],
  ] as const) {
    app.get(
      url,
      {
        config: { scope: 'invoke' },
        schema: {
          operationId,
          summary: 'A file of a plugin, where its manifest has it for pages to load',
          tags,
          params: url.endsWith('*') ? AssetParams : PluginParams,
          querystring: Query,
          response: {
            200: { description: 'The file', content: { 'application/octet-stream': File } },
            ...Problems(400, 401, 403, 404, 412, 416, 429, 503),
          },
        },
      },
      async (request, reply) => asset(request, reply, shown(request.tenancy, request.params.plugin)),
    );
  }
}

async function asset(request: FastifyRequest, reply: FastifyReply, { realDir, ui }: Plugin): Promise<void> {
  // As it was sent: whoever decodes it twice reads something else than we judge.
  const rest = /^\/plugin\/[^/?#]+\/assets(\/[^?#]*)?(?:[?#]|$)/.exec(request.raw.url ?? '');
  const path = rest === null ? null : assetPath(ui?.assets ?? {}, rest[1] ?? '');
  const file = path === null ? 'absent' : await PluginFile.open(realDir, join(realDir, path));
  // One answer for all: what else is on this machine is nobody's business.
  if (path === null || typeof file === 'string') throw new Failure('not_found', 'The plugin has no such asset');
  const { type, attachment } = mediaTypeOf(path);
  await deliver(request, reply, {
    bytes: file.bytes,
    etag: `"${file.stamp}"`,
    headers: {
      'content-type': type,
      'cache-control': keeping(request),
      ...(attachment ? { 'content-disposition': 'attachment' } : {}),
    },
    read: (from, length) => file.read(from, length),
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  });
}

/** A plugin that may be shown: Stash's statuses, which its pages know. */
function shown(tenancy: Tenancy, id: string): Plugin {
  const plugin = tenancy.plugin(id);
  if (tenancy.isEnabled(id)) return plugin;
  throw new HttpFailure(400, new Failure('plugin_disabled', 'plugin disabled'));
}

function keeping({ query }: FastifyRequest): string {
  return typeof query === 'object' && query !== null && 't' in query
    ? 'private, max-age=31536000, immutable'
    : 'no-cache';
}

const NAMED_MOST = 20;

function named(leftOut: readonly LeftOut[]): string {
  const names = leftOut.slice(0, NAMED_MOST).map(({ at, why }) => `${at}=${why.replace(' ', '-')}`);
  return [...names, ...(leftOut.length > NAMED_MOST ? ['more'] : [])].join(', ');
}
