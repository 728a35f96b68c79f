import type { ApplicationRecord } from './application.ts';
import type { Grade } from './isolation.ts';
import type { LimitName, Limits } from './limits.ts';

/** Whom plugins belong to. Nothing of one is ever seen by another. */
export type Tenant = {
  id: string;
  name: string;
  createdAt: Date;
  /** Lower limits for all of its plugins. */
  limits: Partial<Limits>;
  quotas: Quotas;
  /** Tenants of one group may share executors; null shares with nobody. Only the operator sets it. */
  trustGroup: string | null;
  /** What its plugins serve; null leaves it to the configuration. Only the operator sets it. */
  application: ApplicationRecord | null;
  /** The least isolation grade at which its plugins are run, where that is more than for all. Only the operator sets it. */
  leastGrade: Grade | null;
  /**
   * Whether its plugins may answer requests of their own; null leaves it to the configuration. Only the operator sets it:
   * each that is enabled is a process that stays on their machine. Contract: SillyTavern `enableServerPlugins`.
   */
  enableServerPlugins: boolean | null;
  /** Goes up with each change, so that nobody overwrites what they have not seen. */
  revision: number;
};

/** What a tenant may take; null where the operator sets no bound beyond the general ones. */
export type Quotas = {
  /** Invocations that run at once, on each node. */
  running: number | null;
  /** Jobs that run at once, over all nodes: never one more. */
  jobsRunning: number | null;
  /** Jobs that wait, delayed ones among them. */
  jobsWaiting: number | null;
  /** Requests a second, on each node. */
  requestsPerSecond: number | null;
  /** Packages, and what is kept of jobs. */
  storedBytes: number | null;
};

export const NO_QUOTAS: Quotas = Object.freeze({
  running: null,
  jobsRunning: null,
  jobsWaiting: null,
  requestsPerSecond: null,
  storedBytes: null,
});

/** The tenant that is there from the start. */
export const DEFAULT_TENANT = 'default';

export const TENANT_ID = /^[a-z0-9][a-z0-9_-]{0,62}$/;

/** What `create` and `update` are given of a tenant. In `limits`, null takes one away; in `quotas`, it is no bound. */
export type TenantChange = {
  name?: string;
  limits?: { [Name in LimitName]?: number | null };
  quotas?: Partial<Quotas>;
  trustGroup?: string | null;
  application?: ApplicationRecord | null;
  leastGrade?: Grade | null;
  enableServerPlugins?: boolean | null;
};

/**
 * What the bearer of a token may do with its tenant: run plugins and read what there is; install and configure them
 * too; make and revoke its tokens too. Each includes those before it.
 */
export type Scope = 'invoke' | 'manage' | 'admin';

/** From least to most. */
export const SCOPES: readonly Scope[] = ['invoke', 'manage', 'admin'];

/** Whether these scopes include the one that is needed. */
export function includes(scopes: readonly Scope[], needed: Scope): boolean {
  return scopes.some((one) => SCOPES.indexOf(one) >= SCOPES.indexOf(needed));
}

/** What a token opens. */
export type Bearer = { token: string; tenant: string; scopes: readonly Scope[]; expiresAt: Date | null };

/** A token that opens nothing any more, for whoever still holds it. */
export type Spent = { ended: 'expired' | 'revoked'; at: Date };

/** A token as it is kept: what it opens, and never the token itself. */
export type Token = {
  id: string;
  tenant: string;
  name: string;
  scopes: readonly Scope[];
  createdAt: Date;
  expiresAt: Date | null;
  revokedAt: Date | null;
};
