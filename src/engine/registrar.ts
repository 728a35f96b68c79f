import type { Tenant, TenantChange, Token } from '../core/tenant.ts';
import type { Store } from '../store/store.ts';
import type { Bearers } from './bearers.ts';
import type { Tenancies } from './tenancies.ts';

/** Makes, changes and removes tenants and tokens. This node knows of it when a call resolves, the others soon after. */
export class Registrar {
  readonly #tenants: Store['tenants'];
  readonly #tenancies: Tenancies;
  readonly #bearers: Bearers;

  constructor({ tenants }: Pick<Store, 'tenants'>, tenancies: Tenancies, bearers: Bearers) {
    this.#tenants = tenants;
    this.#tenancies = tenancies;
    this.#bearers = bearers;
  }

  /** Throws `invalid_request` and `conflict`. */
  create(id: string, change: TenantChange): Promise<Tenant> {
    return this.#tenants.create(id, change);
  }

  get(id: string): Promise<Tenant | undefined> {
    return this.#tenants.get(id);
  }

  /** By id, a page at a time. */
  list(page: { after?: string; limit?: number }): Promise<Tenant[]> {
    return this.#tenants.list(page);
  }

  /** With `revision`, only if that is still the newest. Throws `not_found` and `conflict`. */
  async update(id: string, change: TenantChange, revision: number | undefined): Promise<Tenant> {
    const tenant = await this.#tenants.update(id, change, revision);
    await this.#tenancies.learn(id, 'tenants');
    return tenant;
  }

  /** With all it has: tokens, settings, packages, folders. What runs of it is stopped. */
  async remove(id: string): Promise<void> {
    await this.#tenants.remove(id);
    this.#bearers.forget(id);
    await this.#tenancies.learn(id, 'tenants');
  }

  tokens(tenant: string): Promise<Token[]> {
    return this.#tenants.tokens(tenant);
  }

  /** `secret` is the token itself, told this once. With `madeAt`, only for the tenant of that name made then. */
  async createToken(
    tenant: string,
    token: Pick<Token, 'name' | 'scopes' | 'expiresAt'>,
    madeAt?: Date,
  ): Promise<{ token: Token; secret: string }> {
    const created = await this.#tenants.createToken(tenant, token, madeAt);
    this.#bearers.forget(tenant);
    return created;
  }

  async revokeToken(tenant: string, token: string): Promise<void> {
    await this.#tenants.revokeToken(tenant, token);
    this.#bearers.forget(tenant);
  }
}
