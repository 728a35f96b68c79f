import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Failure, type PackageProblem } from '../../core/failure.ts';
import type { Dialect } from '../../core/plugin.ts';
import type { Installed } from '../../engine/installer.ts';
import type { KnownPlugins } from '../../engine/known-plugins.ts';
import type { App } from '../app.ts';
import { callerSignal } from '../caller-signal.ts';
import { AROUND_FILE_BYTES, fieldsIn } from './bodies.ts';
import { DIALECT, type PluginViews, pluginIn } from './plugin-view.ts';
import { failed, Refused, refused } from './refused.ts';
import { Errors, PluginForm, Success, tags } from './schemas.ts';
import { type Starting, started } from './starting.ts';

export type ImportRoutes = Starting & {
  views: PluginViews;
  known: KnownPlugins;
  /** The most that an archive may have. */
  archiveBytes: number;
  /** Throws as the installer does; `conflict` where there is a plugin of that key and it is not to be replaced. */
  install(
    tenant: string,
    archive: Buffer,
    signal: AbortSignal,
    options: { dialect: Dialect; name: string; overwrite: boolean },
  ): Promise<Pick<Installed, 'plugins'>>;
};

const NAME_LETTERS = 255;

const Body = {
  content: {
    'multipart/form-data': {
      schema: Type.Object({
        file: Type.String({ format: 'binary', description: 'A zip archive with one plugin' }),
        overwrite: Type.Optional(Type.String({ description: '`true` replaces a plugin of the same key' })),
      }),
    },
  },
};

export function imports(scope: App, routes: ImportRoutes): void {
  const { known, archiveBytes, install } = routes;
  scope.post(
    '/plugins/import/',
    {
      bodyLimit: archiveBytes + AROUND_FILE_BYTES,
      config: { scope: 'manage', fileBytes: archiveBytes },
      schema: {
        operationId: 'importDispatcharrPlugin',
        summary: 'Install the plugin of an archive; it is not enabled by that',
        tags,
        body: Body,
        response: {
          200: Success({ plugin: PluginForm, was_managed: Type.Boolean() }),
          ...Errors(400, 401, 403, 404, 405, 413, 422, 429, 500, 503),
        },
      },
    },
    async (request, reply) => {
      const { tenancy, upload } = request;
      if (upload === null) throw refused(400, "Missing 'file' upload");
      const options = { dialect: DIALECT, name: upload.name.slice(0, NAME_LETTERS), overwrite: isOverwriting(request) };
      // What came in lies in memory until it is somebody else's.
      request.upload = null;
      const { plugins } = await install(request.tenant, upload.bytes, callerSignal(reply), options).catch(tell);
      const [{ id } = { id: '' }] = plugins;
      const wasManaged = await known.disown(tenancy, id);
      const plugin = await viewOfInstalled(request, id, routes);
      return { success: true, plugin, was_managed: wasManaged } as const;
    },
  );
}

/** What has just come, as it is when it is up again, where it was enabled before. */
export async function viewOfInstalled(
  request: FastifyRequest,
  key: string,
  { views, known, ...starting }: Starting & Pick<ImportRoutes, 'views' | 'known'>,
): Promise<PluginForm> {
  const { tenancy } = request;
  const plugin = pluginIn(tenancy, key);
  if (plugin === undefined) throw refused(409, 'The plugin was removed at the same time', 'conflict');
  await known.note(tenancy, DIALECT);
  await started(starting, tenancy, plugin);
  return await views.one(request, plugin);
}

/** Not whatever is said, as `false` is said, too. */
function isOverwriting(request: FastifyRequest): boolean {
  const { overwrite } = fieldsIn(request);
  return YES.includes(String(overwrite).trim().toLowerCase());
}

const YES = ['true', '1', 'yes', 'on'];
const FAILED = 'Failed to import plugin: ';

function tell(error: unknown): never {
  if (!(error instanceof Failure)) throw error;
  const { code, details } = error;
  if (details.rejection !== undefined) throw said(WORDS[details.rejection], error);
  const key = code === 'conflict' ? details.where?.[0]?.at : undefined;
  if (key !== undefined) throw said(`Plugin '${key}' already exists`, error);
  throw code === 'package_rejected' || code === 'conflict'
    ? said(FAILED + error.message, error)
    : failed(error, FAILED);
}

function said(words: string, failure: Failure): Refused {
  return new Refused(400, { success: false, error: words }, failure);
}

const WORDS: Readonly<Record<PackageProblem, string>> = {
  zip: 'Invalid zip file',
  empty: 'Archive is empty',
  files: 'Archive has too many files',
  'file bytes': 'Archive contains a file that is too large',
  bytes: 'Archive is too large',
  path: 'Unsafe path in archive',
  'no plugin': 'Invalid plugin: missing plugin.py or package __init__.py',
};
