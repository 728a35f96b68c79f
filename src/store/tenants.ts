import { hash, randomBytes } from 'node:crypto';
import type { ApplicationRecord } from '../core/application.ts';
import { Failure } from '../core/failure.ts';
import type { Grade } from '../core/isolation.ts';
import type { Limits } from '../core/limits.ts';
import {
  type Bearer,
  DEFAULT_TENANT,
  NO_QUOTAS,
  type Quotas,
  type Scope,
  type Spent,
  TENANT_ID,
  type Tenant,
  type TenantChange,
  type Token,
} from '../core/tenant.ts';
import type { Db, Tx } from './database.ts';
import { inTransaction } from './transaction.ts';
import { isUniqueViolation } from './violations.ts';

/** Pages are of this size at most. */
const PAGE = 200;
const TOKENS_MOST = 500;

/** All tenants and their tokens: the operator's view. What belongs to one tenant is in its TenantStore. */
export class Tenants {
  readonly #db: Db;

  constructor(db: Db) {
    this.#db = db;
  }

  /** Throws `invalid_request` and `conflict`. */
  async create(id: string, change: TenantChange = {}): Promise<Tenant> {
    if (!TENANT_ID.test(id)) {
      const words = 'A tenant id is up to 63 small letters, digits, _ and -, and begins with a letter or a digit';
      throw new Failure('invalid_request', words);
    }
    const { name = id, limits = {}, quotas = {}, trustGroup = null, application = null } = change;
    const { leastGrade = null, enableServerPlugins = null } = change;
    try {
      const row = await this.#db
        .insertInto('tenants')
        .values({
          id,
          name,
          limits: JSON.stringify(merged({}, limits)),
          quotas: JSON.stringify({ ...NO_QUOTAS, ...quotas }),
          trust_group: trustGroup,
          application: application && JSON.stringify(application),
          least_grade: leastGrade,
          enable_server_plugins: enableServerPlugins,
        })
        .returningAll()
        .executeTakeFirstOrThrow();
      return tenantOf(row);
    } catch (error) {
      if (isUniqueViolation(error)) throw new Failure('conflict', `There is a tenant "${id}" already`);
      throw error;
    }
  }

  async get(id: string): Promise<Tenant | undefined> {
    const row = await this.#db.selectFrom('tenants').selectAll().where('id', '=', id).executeTakeFirst();
    return row === undefined ? undefined : tenantOf(row);
  }

  /** By id, a page at a time: those after `after`. */
  async list({ after = '', limit = PAGE }: { after?: string; limit?: number } = {}): Promise<Tenant[]> {
    const rows = await this.#db
      .selectFrom('tenants')
      .selectAll()
      .where('id', '>', after)
      .orderBy('id')
      .limit(Math.min(limit, PAGE))
      .execute();
    return rows.map(tenantOf);
  }

  /** Changes what is given. With `revision`, only if that is still the newest: else `conflict`. Throws `not_found`. */
  async update(id: string, change: TenantChange, revision?: number): Promise<Tenant> {
    return await inTransaction(this.#db, async (tx) => {
      const row = await tx.selectFrom('tenants').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
      if (row === undefined) throw noTenant(id);
      if (revision !== undefined && revision !== row.revision) throw changedMeanwhile(row.revision);
      const changed = await tx
        .updateTable('tenants')
        .set({
          revision: row.revision + 1,
          ...(change.name === undefined ? {} : { name: change.name }),
          ...(change.limits === undefined ? {} : { limits: JSON.stringify(merged(row.limits, change.limits)) }),
          ...(change.quotas === undefined ? {} : { quotas: JSON.stringify({ ...row.quotas, ...change.quotas }) }),
          ...(change.trustGroup === undefined ? {} : { trust_group: change.trustGroup }),
          ...(change.leastGrade === undefined ? {} : { least_grade: change.leastGrade }),
          ...(change.enableServerPlugins === undefined ? {} : { enable_server_plugins: change.enableServerPlugins }),
          ...(change.application === undefined
            ? {}
            : { application: change.application && JSON.stringify(change.application) }),
        })
        .where('id', '=', id)
        .returningAll()
        .executeTakeFirstOrThrow();
      return tenantOf(changed);
    });
  }

  /** With everything that it has. Throws `not_found`, and `conflict` for the tenant that must be there. */
  async remove(id: string): Promise<void> {
    if (id === DEFAULT_TENANT) throw new Failure('conflict', `The tenant "${id}" cannot be removed`);
    const { numDeletedRows } = await this.#db.deleteFrom('tenants').where('id', '=', id).executeTakeFirstOrThrow();
    if (numDeletedRows === 0n) throw noTenant(id);
  }

  // ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * `secret` is the token itself, which is told this once and kept nowhere. Throws `not_found`, also where the tenant is
   * not the one of that name that was made at `madeAt`.
   */
  async createToken(
    tenant: string,
    { name, scopes, expiresAt = null }: { name: string; scopes: readonly Scope[]; expiresAt?: Date | null },
    madeAt?: Date,
  ): Promise<{ token: Token; secret: string }> {
    const id = randomBytes(9).toString('base64url');
    const secret = `isopod_${id}_${randomBytes(24).toString('base64url')}`;
    const row = await inTransaction(this.#db, async (tx) => {
      // Locked, so that nobody else counts meanwhile.
      const rows = tx.selectFrom('tenants').select('created_at').where('id', '=', tenant).forUpdate();
      const owner = await rows.executeTakeFirst();
      if (owner === undefined) throw noTenant(tenant);
      if (madeAt !== undefined && owner.created_at.getTime() !== madeAt.getTime()) throw noTenant(tenant);
      await makeRoom(tx, tenant);
      return await tx
        .insertInto('tokens')
        .values({
          id,
          tenant,
          name,
          hash: digest(secret),
          scopes: [...scopes],
          expires_at: expiresAt,
          revoked_at: null,
        })
        .returningAll()
        .executeTakeFirstOrThrow();
    });
    return { token: tokenOf(row), secret };
  }

  async tokens(tenant: string): Promise<Token[]> {
    const rows = await this.#db
      .selectFrom('tokens')
      .selectAll()
      .where('tenant', '=', tenant)
      .orderBy('created_at')
      .execute();
    return rows.map(tokenOf);
  }

  /** It opens nothing any more. Throws `not_found`; doing it again changes nothing. */
  async revokeToken(tenant: string, id: string): Promise<void> {
    const row = await this.#db
      .updateTable('tokens')
      .set((eb) => ({ revoked_at: eb.fn.coalesce('revoked_at', eb.val(new Date())) }))
      .where('tenant', '=', tenant)
      .where('id', '=', id)
      .returning('id')
      .executeTakeFirst();
    if (row === undefined) throw new Failure('not_found', `There is no token "${id}"`);
  }

  /** What a token opens now, or since when it opens nothing any more; undefined for one that is unknown. */
  async bearer(secret: string): Promise<Bearer | Spent | undefined> {
    const row = await this.#db
      .selectFrom('tokens')
      .select(['id', 'tenant', 'scopes', 'expires_at', 'revoked_at'])
      .where('hash', '=', digest(secret))
      .executeTakeFirst();
    if (row === undefined) return undefined;
    if (row.revoked_at !== null) return { ended: 'revoked', at: row.revoked_at };
    if (row.expires_at !== null && row.expires_at <= new Date()) return { ended: 'expired', at: row.expires_at };
    return { token: row.id, tenant: row.tenant, scopes: row.scopes, expiresAt: row.expires_at };
  }
}

/** Null takes a limit away. */
function merged(limits: Partial<Limits>, change: NonNullable<TenantChange['limits']>): Partial<Limits> {
  return Object.fromEntries(Object.entries({ ...limits, ...change }).filter(([, value]) => value !== null));
}

export function noTenant(id: string): Failure {
  return new Failure('not_found', `There is no tenant "${id}"`);
}

/** For If-Match: what the caller has seen is not what is there. */
export function changedMeanwhile(revision: number): Failure {
  return new Failure('conflict', `It has been changed meanwhile: it is at revision ${revision} now`);
}

/** Tokens that open nothing any more are kept for as long as there is room. */
async function makeRoom(tx: Tx, tenant: string): Promise<void> {
  const rows = await tx
    .selectFrom('tokens')
    .select(['id', 'revoked_at', 'expires_at'])
    .where('tenant', '=', tenant)
    .orderBy('created_at')
    .execute();
  if (rows.length < TOKENS_MOST) return;
  const now = new Date();
  const dead = rows.find(
    ({ revoked_at, expires_at }) => revoked_at !== null || (expires_at !== null && expires_at < now),
  );
  if (dead === undefined) {
    const limit = { name: 'tokens', allowed: TOKENS_MOST, observed: rows.length + 1, unit: 'count' } as const;
    throw new Failure('quota_exceeded', `A tenant has ${TOKENS_MOST} tokens at most: revoke one first`, { limit });
  }
  await tx.deleteFrom('tokens').where('id', '=', dead.id).execute();
}

/** The token itself is random enough: no salt, no slow hash, so that a look-up is one index search. */
function digest(secret: string): Buffer {
  return hash('sha256', secret, 'buffer');
}

type TenantRecord = {
  id: string;
  name: string;
  created_at: Date;
  limits: Partial<Limits>;
  quotas: Quotas;
  trust_group: string | null;
  application: ApplicationRecord | null;
  least_grade: Grade | null;
  enable_server_plugins: boolean | null;
  revision: number;
};

function tenantOf(record: TenantRecord): Tenant {
  const { created_at: createdAt, trust_group: trustGroup, least_grade: leastGrade } = record;
  const { id, name, limits, quotas, application, enable_server_plugins: enableServerPlugins, revision } = record;
  return {
    id,
    name,
    createdAt,
    limits,
    quotas: { ...NO_QUOTAS, ...quotas },
    trustGroup,
    application,
    leastGrade,
    enableServerPlugins,
    revision,
  };
}

type TokenRecord = {
  id: string;
  tenant: string;
  name: string;
  scopes: Scope[];
  created_at: Date;
  expires_at: Date | null;
  revoked_at: Date | null;
};

function tokenOf({ id, tenant, name, scopes, created_at, expires_at, revoked_at }: TokenRecord): Token {
  return { id, tenant, name, scopes, createdAt: created_at, expiresAt: expires_at, revokedAt: revoked_at };
}
