import { type Static, Type } from 'typebox';
import { type Grant, HOSTS_MOST, PATHS_MOST } from '../core/grant.ts';
import type { Overview, Permissions } from '../engine/permissions.ts';
import type { App } from './app.ts';
import { etag, IfMatch, ifMatch } from './if-match.ts';
import { nothing } from './nothing.ts';
import { LowerLimits } from './order-schemas.ts';
import { PluginParams } from './plugins.ts';
import { AskSchema, FileSchema, GrantSchema, OrNull, Problems } from './schemas.ts';

export type PermissionRoutes = { permissions: Permissions };

const closed = { additionalProperties: false } as const;
const tags = ['plugins'];

const Wanted = Type.Object(
  {
    network: Type.Array(Type.String({ maxLength: 300 }), {
      maxItems: HOSTS_MOST,
      default: [],
      description:
        'Hosts: example.com, *.example.com (below it), example.com:8443; without a port these are 80 and 443',
    }),
    files: Type.Optional(
      Type.Array(FileSchema, {
        maxItems: PATHS_MOST,
        description: 'For operators only. Where they are not named they stay as they are',
      }),
    ),
    limits: Type.Partial(Type.Object(LowerLimits), {
      ...closed,
      default: {},
      description: 'Lower limits for this plugin; what is higher than configured has no effect',
    }),
    observe: Type.Boolean({ default: false, description: 'Write down which hosts it tries to reach' }),
  },
  closed,
);

const Answer = Type.Object(
  {
    granted: GrantSchema,
    asked: OrNull(AskSchema, {
      description: 'What it asks for, in a file beside its manifest; null where it does not',
    }),
    missing: Type.Unsafe<Grant>({ ...GrantSchema, description: 'What of that was not granted' }),
    observe: Type.Boolean(),
    revision: Type.Integer({ description: 'As in the ETag' }),
    observed: Type.Optional(
      Type.Array(
        Type.Object({
          host: Type.String(),
          port: Type.Integer(),
          tries: Type.Integer(),
          because: Type.String({ description: 'Why the last one was let through or refused' }),
          lastAt: Type.String({ format: 'date-time' }),
        }),
        { description: 'What it tried to reach since it is observed: what it tried most often first' },
      ),
    ),
    proposal: Type.Optional(
      Type.Unsafe<Grant>({ ...GrantSchema, description: 'The least that would have let that through' }),
    ),
  },
  { description: 'What the plugin may have beyond its folder and its application; the ETag changes with it' },
);

export function permissions(app: App, { permissions: all }: PermissionRoutes): void {
  const url = '/v1/plugins/:plugin/permissions';

  app.get(
    url,
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'getPermissions',
        summary: 'What a plugin was granted, what it asks for, and what it tried',
        tags,
        params: PluginParams,
        response: { 200: Answer, ...Problems(401, 403, 404, 429, 503) },
      },
    },
    async ({ params, tenancy }, reply) => {
      const overview = await all.overview(tenancy, params.plugin);
      reply.header('etag', etag(overview.kept.revision));
      return shown(overview);
    },
  );

  app.put(
    url,
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'putPermissions',
        summary: 'Grant a plugin this, and nothing else; files are for operators to grant',
        tags,
        params: PluginParams,
        headers: IfMatch,
        body: Wanted,
        response: { 200: Answer, ...Problems(400, 401, 403, 404, 412, 413, 429, 503) },
      },
    },
    async ({ params, headers, body, tenancy, caller }, reply) => {
      const overview = await ifMatch(headers['if-match'], (revision) =>
        all.put(tenancy, params.plugin, body, caller, revision),
      );
      reply.header('etag', etag(overview.kept.revision));
      return shown(overview);
    },
  );

  app.delete(
    url,
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'deletePermissions',
        summary: 'Take away all that a plugin was granted, and forget what it tried',
        tags,
        params: PluginParams,
        headers: IfMatch,
        response: {
          204: { type: 'null', description: 'Nothing is granted' },
          ...Problems(401, 403, 404, 412, 429, 503),
        },
      },
    },
    async ({ params, headers, tenancy }, reply) => {
      await ifMatch(headers['if-match'], (revision) => all.clear(tenancy, params.plugin, revision));
      return nothing(reply);
    },
  );
}

function shown({ kept, asked, missing, observation }: Overview): Static<typeof Answer> {
  const { grant, observe, revision } = kept;
  const observed = observation?.observed.map((one) => ({ ...one, lastAt: one.lastAt.toISOString() }));
  return {
    granted: grant as Static<typeof GrantSchema>,
    asked: asked as Static<typeof AskSchema> | null,
    missing,
    observe,
    revision,
    ...(observation === null ? {} : { observed: observed ?? [], proposal: observation.proposal }),
  };
}
