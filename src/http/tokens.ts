import { type Static, Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import { DEFAULT_TENANT, SCOPES, type Token } from '../core/tenant.ts';
import type { App } from './app.ts';
import { nothing } from './nothing.ts';
import { OrNull, Problems } from './schemas.ts';
import { reached, TenantParams, type TenantRoutes } from './tenants.ts';

const tags = ['tenants'];

const Scopes = Type.Array(Type.Enum([...SCOPES]), {
  minItems: 1,
  uniqueItems: true,
  description: '`invoke` runs plugins, `manage` configures them too, `admin` makes tokens too',
});
const Time = Type.String({ format: 'date-time', maxLength: 40 });

const NewToken = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\u0000-\\u001f\\u007f]*$' }),
    scopes: Scopes,
    expiresAt: Type.Optional(Time),
  },
  { additionalProperties: false },
);

const TokenAnswer = Type.Object({
  id: Type.String(),
  name: Type.String(),
  scopes: Scopes,
  createdAt: Time,
  expiresAt: OrNull(Time),
  revokedAt: OrNull(Time),
});

const Created = Type.Object({
  ...TokenAnswer.properties,
  secret: Type.String({ description: 'The token itself, told this once: only a digest of it is kept' }),
});

export function tokens(app: App, { registrar }: TenantRoutes): void {
  const url = '/v1/tenants/:tenant/tokens';

  app.post(
    url,
    {
      config: { scope: 'admin' },
      schema: {
        operationId: 'createToken',
        summary: 'Make a token of a tenant',
        tags,
        params: TenantParams,
        body: NewToken,
        response: { 201: Created, ...Problems(400, 401, 403, 404, 429, 503) },
      },
    },
    async ({ params, body: { name, scopes, expiresAt }, caller, tenancy }, reply) => {
      const expires = expiresAt === undefined ? null : new Date(expiresAt);
      if (expires !== null && !(expires.getTime() > Date.now())) {
        throw new Failure('invalid_request', 'expiresAt must be in the future', {
          where: [{ at: '/expiresAt', problem: 'is over' }],
        });
      }
      const id = reached(params.tenant, caller);
      const { token, secret } = await registrar.createToken(
        id,
        { name, scopes, expiresAt: expires },
        // Whoever had the name of this tenant before must get no token of it. The default tenant is always the same.
        caller.isOperator || id === DEFAULT_TENANT ? undefined : tenancy.tenant.createdAt,
      );
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ ...shown(token), secret });
    },
  );

  app.get(
    url,
    {
      config: { scope: 'admin' },
      schema: {
        operationId: 'listTokens',
        summary: 'The tokens of a tenant, but not what they are',
        tags,
        params: TenantParams,
        response: { 200: Type.Object({ tokens: Type.Array(TokenAnswer) }), ...Problems(401, 403, 404, 429, 503) },
      },
    },
    async ({ params, caller }) => {
      const found = await registrar.tokens(reached(params.tenant, caller));
      return { tokens: found.map(shown) };
    },
  );

  app.delete(
    `${url}/:token`,
    {
      config: { scope: 'admin' },
      schema: {
        operationId: 'revokeToken',
        summary: 'Revoke a token: it opens nothing any more, on any node',
        tags,
        params: Type.Object({ ...TenantParams.properties, token: Type.String({ description: 'Id of the token' }) }),
        response: { 204: { type: 'null', description: 'It opens nothing' }, ...Problems(401, 403, 404, 429, 503) },
      },
    },
    async ({ params, caller }, reply) => {
      const id = reached(params.tenant, caller);
      if (!TOKEN_ID.test(params.token)) throw new Failure('not_found', `There is no token "${params.token}"`);
      await registrar.revokeToken(id, params.token);
      return nothing(reply);
    },
  );
}

/** Nothing else gets as far as the database. */
const TOKEN_ID = /^[\w-]{1,64}$/;

function shown({ id, name, scopes, createdAt, expiresAt, revokedAt }: Token): Static<typeof TokenAnswer> {
  return {
    id,
    name,
    scopes: [...scopes],
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString() ?? null,
    revokedAt: revokedAt?.toISOString() ?? null,
  };
}
