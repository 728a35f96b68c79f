/** The tables as Kysely sees them. What they are and why is said where they are made, in migrations/. */
import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { Limits } from '../core/limits.ts';
import type { Quotas, Scope } from '../core/tenant.ts';

type Json<T extends object> = JSONColumnType<T, string, string>;
type CreatedAt = ColumnType<Date, Date | undefined, never>;

export type TenantRow = {
  id: string;
  name: string;
  created_at: CreatedAt;
  limits: Json<Partial<Limits>>;
  quotas: Json<Quotas>;
  trust_group: string | null;
  revision: Generated<number>;
};

export type TokenRow = {
  id: string;
  tenant: string;
  name: string;
  hash: Buffer;
  scopes: Scope[];
  created_at: CreatedAt;
  expires_at: Date | null;
  revoked_at: Date | null;
};

export type PluginStateRow = {
  tenant: string;
  plugin: string;
  enabled: Generated<boolean>;
  settings: Json<Record<string, unknown>>;
  revision: Generated<number>;
  updated_at: CreatedAt | ColumnType<Date, Date | undefined, Date>;
};

export type BundleRow = { sha256: Buffer; bytes: number; chunks: number; created_at: CreatedAt };
export type BundleChunkRow = { sha256: Buffer; number: number; bytes: Buffer };

export type PackageRow = {
  tenant: string;
  plugin: string;
  dialect: string;
  sha256: Buffer;
  /** Folder of the manifest inside the archive. */
  root: string;
  installed_at: CreatedAt | ColumnType<Date, Date | undefined, Date>;
};

export type Tables = {
  tenants: TenantRow;
  tokens: TokenRow;
  plugin_states: PluginStateRow;
  bundles: BundleRow;
  bundle_chunks: BundleChunkRow;
  packages: PackageRow;
};
