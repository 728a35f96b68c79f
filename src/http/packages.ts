import type { IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import type { Installer } from '../engine/installer.ts';
import type { App } from './app.ts';
import { ARCHIVE_TYPES, assertFits, readArchive } from './archive-body.ts';
import { archiveName } from './archive-name.ts';
import { callerSignal } from './caller-signal.ts';
import { InstallAnswer, Problems } from './schemas.ts';

export type PackageRoutes = {
  installer: Installer;
  /** The most that an archive may have. */
  archiveBytes: number;
};

const tags = ['plugins'];

const Archive = {
  description: 'A zip archive with one plugin or more',
  content: Object.fromEntries(ARCHIVE_TYPES.map((type) => [type, { schema: { type: 'string', format: 'binary' } }])),
};

const Headers = Type.Object({
  'content-disposition': Type.Optional(
    Type.String({
      description:
        'What the archive is called, e.g. `attachment; filename="my_plugin.zip"`: it names a plugin of Dispatcharr or SillyTavern that lies at the top of it',
    }),
  ),
});

const Query = Type.Object(
  {
    settings: Type.Enum(['keep', 'forget'], {
      default: 'keep',
      description: '`forget` also forgets what was set for the plugin, and whether it was enabled',
    }),
  },
  { additionalProperties: false, required: [] },
);

/** In a scope of their own: nowhere else is an archive a body, and here nothing else is. */
export async function packages(app: App, { installer, archiveBytes }: PackageRoutes): Promise<void> {
  await app.register(async (scope: App) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(ARCHIVE_TYPES, (request: FastifyRequest, body: IncomingMessage) =>
      readArchive(request, body, archiveBytes),
    );

    scope.post(
      '/v1/plugins',
      {
        bodyLimit: archiveBytes,
        config: { scope: 'manage', takes: `a zip archive, sent with "Content-Type: ${ARCHIVE_TYPES[0]}"` },
        onRequest: (request, reply, done) => {
          // What nobody will read must not hold up the next request.
          reply.header('connection', 'close');
          assertFits(request, archiveBytes);
          reply.removeHeader('connection');
          done();
        },
        schema: {
          operationId: 'installPlugins',
          summary: 'Install the plugins of an archive, or put another version of them in their place',
          tags,
          headers: Headers,
          body: Archive,
          response: {
            200: { ...InstallAnswer, description: 'All of it was installed already' },
            201: InstallAnswer,
            ...Problems(400, 401, 403, 409, 413, 415, 422, 429, 500, 503),
          },
        },
        // The schema is for the reference: nobody looks at 50 MB as if they were JSON.
        validatorCompiler: () => () => true,
      },
      async (request, reply) => {
        const archive = request.body;
        if (!(archive instanceof Buffer) || archive.length === 0) {
          throw new Failure('invalid_request', 'The body is empty; send the archive in it');
        }
        const { plugins, changed, ...installed } = await installer.install(
          request.tenant,
          archive,
          callerSignal(reply),
          { name: archiveName(request.headers['content-disposition']) },
        );
        const told = plugins.map(({ id, name, version, dialect, warnings = [] }) => {
          return { id, name, version, dialect, warnings: [...warnings] };
        });
        return reply.code(changed ? 201 : 200).send({ plugins: told, ...installed });
      },
    );
  });

  app.delete(
    '/v1/plugins/:plugin',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'removePlugin',
        summary: 'Remove a plugin that was installed from an archive; what runs of it goes on',
        tags,
        params: Type.Object({ plugin: Type.String({ description: 'Id of the plugin' }) }),
        querystring: Query,
        response: {
          204: { type: 'null', description: 'It is removed' },
          ...Problems(401, 403, 404, 409, 429, 500, 503),
        },
      },
    },
    async ({ params, query, tenant }, reply) => {
      await installer.remove(tenant, params.plugin, query.settings ?? 'keep');
      return reply.code(204).send(null);
    },
  );
}
