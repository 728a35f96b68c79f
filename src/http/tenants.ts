import { type Static, type TSchema, Type } from 'typebox';
import { GRADES, type Grade } from '../core/isolation.ts';
import type { LimitName } from '../core/limits.ts';
import { type Quotas, SCOPES, TENANT_ID, type Tenant, type TenantChange } from '../core/tenant.ts';
import { noTenant } from '../engine/invoker.ts';
import type { Registrar } from '../engine/registrar.ts';
import type { App } from './app.ts';
import type { Caller } from './auth.ts';
import { etag, IfMatch, ifMatch } from './if-match.ts';
import { nothing } from './nothing.ts';
import { LowerLimits } from './order-schemas.ts';
import { OrNull, Problems } from './schemas.ts';
import { ApplicationSchema, applicationOf } from './tenant-application.ts';

export type TenantRoutes = {
  registrar: Registrar;
  /** Whether this node has the credential that is in a variable of that name. */
  hasCredential(variable: string): boolean;
};

const tags = ['tenants'];

export const TenantParams = Type.Object({ tenant: Type.String({ description: 'Id of the tenant' }) });

/** More than anybody has of anything, and a number that databases can hold. */
const MOST = 1_000_000_000_000;

const orNull = (minimum: number, description: string) =>
  Type.Unsafe<number | null>({ type: ['integer', 'null'], minimum, maximum: MOST, description });

const QuotaSchemas = {
  running: orNull(0, 'Invocations that run at once, on each node'),
  jobsRunning: orNull(0, 'Jobs that run at once, over all nodes'),
  jobsWaiting: orNull(0, 'Jobs that wait, delayed ones among them'),
  requestsPerSecond: orNull(1, 'Requests a second, on each node'),
  storedBytes: orNull(0, 'Packages, and what is kept of jobs'),
} as const satisfies Record<keyof Quotas, unknown>;

const NullableLimits = Object.fromEntries(
  Object.entries<TSchema & { minimum?: number }>(LowerLimits).map(([name, { minimum = 0 }]) => [
    name,
    orNull(minimum, 'null: as for all tenants'),
  ]),
) as Record<LimitName, ReturnType<typeof orNull>>;

const closed = { additionalProperties: false } as const;

const LeastGrade = Type.Unsafe<Grade | null>({
  enum: [...GRADES, null],
  description:
    'The least isolation grade at which its plugins are run; null, and what is less than for all: as for all',
});

const EnableServerPlugins = OrNull(Type.Boolean(), {
  description:
    'Whether its SillyTavern server plugins may run, each of which is enabled by itself; null: as ISOPOD_SILLYTAVERN_ENABLED says for the default tenant, false for all others',
});

const Change = {
  name: Type.Optional(Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\u0000-\\u001f\\u007f]*$' })),
  limits: Type.Optional(
    Type.Partial(Type.Object(NullableLimits), {
      ...closed,
      description: 'Lower limits for all of its plugins; what is not named stays as it is',
    }),
  ),
  quotas: Type.Optional(
    Type.Partial(Type.Object(QuotaSchemas), {
      ...closed,
      description: 'What it may take, null for no bound of its own; what is not named stays as it is',
    }),
  ),
  trustGroup: Type.Optional(
    Type.Unsafe<string | null>({
      type: ['string', 'null'],
      pattern: TENANT_ID.source,
      description: 'Tenants of one group may share executors; null shares with nobody',
    }),
  ),
  application: Type.Optional(ApplicationSchema),
  leastGrade: Type.Optional(LeastGrade),
  enableServerPlugins: Type.Optional(EnableServerPlugins),
};

const Changed = Type.Object(Change, closed);

const NewTenant = Type.Object(
  { id: Type.String({ pattern: TENANT_ID.source, description: 'Cannot be changed later' }), ...Change },
  closed,
);

const Limits = Type.Record(Type.String(), Type.Integer());

const TenantAnswer = Type.Object({
  id: Type.String(),
  name: Type.String(),
  createdAt: Type.String({ format: 'date-time' }),
  limits: Limits,
  quotas: Type.Object(QuotaSchemas),
  leastGrade: LeastGrade,
  enableServerPlugins: EnableServerPlugins,
  trustGroup: Type.Optional(OrNull(Type.String(), { description: 'For operators only' })),
  application: Type.Optional(ApplicationSchema),
  credentialIsThere: Type.Optional(
    OrNull(Type.Boolean(), {
      description: 'Whether this node has the variable with the credential; null where none is needed',
    }),
  ),
  revision: Type.Integer({ description: 'As in the ETag' }),
});

export function tenants(app: App, { registrar, hasCredential }: TenantRoutes): void {
  const shown = (tenant: Tenant, { isOperator }: Caller): Static<typeof TenantAnswer> => {
    const { id, name, createdAt, limits, quotas, leastGrade, enableServerPlugins, revision } = tenant;
    const { trustGroup, application } = tenant;
    const credential = application?.credential ?? null;
    const credentialIsThere = credential && hasCredential(credential.env);
    return {
      id,
      name,
      createdAt: createdAt.toISOString(),
      limits: { ...limits },
      quotas,
      leastGrade,
      enableServerPlugins,
      ...(isOperator ? { trustGroup, application, credentialIsThere } : {}),
      revision,
    };
  };

  app.post(
    '/v1/tenants',
    {
      schema: {
        operationId: 'createTenant',
        summary: 'Make a tenant; operators only',
        tags,
        body: NewTenant,
        response: { 201: TenantAnswer, ...Problems(400, 401, 403, 409, 503) },
      },
    },
    async ({ body, caller }, reply) => {
      const { id, ...change } = body;
      const tenant = await registrar.create(id, changeOf(change));
      return reply
        .code(201)
        .headers({ etag: etag(tenant.revision), location: `/v1/tenants/${id}` })
        .send(shown(tenant, caller));
    },
  );

  app.get(
    '/v1/tenants',
    {
      schema: {
        operationId: 'listTenants',
        summary: 'All tenants, by id, a page at a time; operators only',
        tags,
        querystring: Type.Object(
          {
            after: Type.Optional(Type.String({ pattern: TENANT_ID.source, description: '`next` of the page before' })),
            limit: Type.Optional(Type.String({ pattern: '^([1-9]\\d?|100)$', description: '1 to 100' })),
          },
          closed,
        ),
        response: {
          200: Type.Object({ tenants: Type.Array(TenantAnswer), next: OrNull(Type.String()) }),
          ...Problems(400, 401, 403, 503),
        },
      },
    },
    async ({ query: { after = '', limit: wanted = '100' }, caller }) => {
      const limit = Number(wanted);
      // One more tells whether there is another page.
      const found = await registrar.list({ after, limit: limit + 1 });
      const page = found.slice(0, limit);
      return {
        tenants: page.map((one) => shown(one, caller)),
        next: found.length > limit ? (page.at(-1)?.id ?? null) : null,
      };
    },
  );

  app.get(
    '/v1/tenants/:tenant',
    {
      config: { scope: 'admin' },
      schema: {
        operationId: 'getTenant',
        summary: 'One tenant',
        tags,
        params: TenantParams,
        response: { 200: TenantAnswer, ...Problems(401, 403, 404, 503) },
      },
    },
    async ({ params, caller }, reply) => {
      const id = reached(params.tenant, caller);
      const tenant = await registrar.get(id);
      if (tenant === undefined) throw noTenant(id);
      reply.header('etag', etag(tenant.revision));
      return shown(tenant, caller);
    },
  );

  app.patch(
    '/v1/tenants/:tenant',
    {
      schema: {
        operationId: 'changeTenant',
        summary: 'Change what is named of a tenant; operators only',
        tags,
        params: TenantParams,
        headers: IfMatch,
        body: Changed,
        response: { 200: TenantAnswer, ...Problems(400, 401, 403, 404, 412, 503) },
      },
    },
    async ({ params, headers, body, caller }, reply) => {
      const id = reached(params.tenant, caller);
      const tenant = await ifMatch(headers['if-match'], (revision) => registrar.update(id, changeOf(body), revision));
      reply.header('etag', etag(tenant.revision));
      return shown(tenant, caller);
    },
  );

  app.delete(
    '/v1/tenants/:tenant',
    {
      schema: {
        operationId: 'removeTenant',
        summary: 'Remove a tenant with all it has; what runs of it is stopped; operators only',
        tags,
        params: TenantParams,
        response: { 204: { type: 'null', description: 'It is gone' }, ...Problems(401, 403, 404, 409, 503) },
      },
    },
    async ({ params, caller }, reply) => {
      await registrar.remove(reached(params.tenant, caller));
      return nothing(reply);
    },
  );

  app.get(
    '/v1/tenant',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'whoAmI',
        summary: 'Whose plugins a request is about, and what the token allows',
        tags,
        response: { 200: Self, ...Problems(401, 403, 404, 429, 503) },
      },
    },
    async ({ tenancy, caller: { scopes, isOperator } }) => {
      const { id, name, quotas } = tenancy.tenant;
      const { servesPlugins: serverPlugins } = tenancy;
      const limits = { ...tenancy.limits() };
      return { id, name, operator: isOperator, scopes: [...scopes], limits, quotas, serverPlugins };
    },
  );
}

const Self = Type.Object({
  id: Type.String(),
  name: Type.String(),
  operator: Type.Boolean({ description: 'Whether the token is an operator’s, for all tenants' }),
  scopes: Type.Array(Type.Enum([...SCOPES])),
  limits: Type.Record(Type.String(), Type.Integer(), { description: 'The most that an invocation may use' }),
  quotas: Type.Object(QuotaSchemas),
  serverPlugins: Type.Boolean({ description: 'Whether its SillyTavern server plugins may run' }),
});

/** The tenant of that name, if the caller may know of it: any for an operator, their own for everybody else. */
export function reached(id: string, { isOperator, tenant }: Caller): string {
  if (TENANT_ID.test(id) && (isOperator || id === tenant)) return id;
  throw noTenant(id);
}

function changeOf({ application, ...change }: Static<typeof Changed>): TenantChange {
  const rest = change as TenantChange;
  return application === undefined ? rest : { ...rest, application: applicationOf(application) };
}
