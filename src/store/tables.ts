/** The tables as Kysely sees them. What they are and why is said where they are made, in migrations/. */
import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { ApplicationRecord } from '../core/application.ts';
import type { EgressReason, FileGrant } from '../core/grant.ts';
import type { Deferral, HeldBecause, HookOrder } from '../core/hook-policy.ts';
import type { Grade } from '../core/isolation.ts';
import type { JobCause, JobState, Retries } from '../core/job.ts';
import type { Limits } from '../core/limits.ts';
import type { Offer } from '../core/plugin-repo.ts';
import type { Missed, TriggerEnd } from '../core/schedule.ts';
import type { KnownPlugin } from '../core/store.ts';
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
  application: ColumnType<ApplicationRecord | null, string | null, string | null>;
  least_grade: Grade | null;
  enable_server_plugins: boolean | null;
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
  enabled: boolean | null;
  ever_enabled: Generated<boolean>;
  settings: Json<Record<string, unknown>>;
  known: ColumnType<KnownPlugin | null, string | null | undefined, string | null>;
  revision: Generated<number>;
  updated_at: CreatedAt | ColumnType<Date, Date | undefined, Date>;
};

export type GrantRow = {
  tenant: string;
  plugin: string;
  network: Json<string[]>;
  files: Json<FileGrant[]>;
  limits: Json<Partial<Limits>>;
  observe: Generated<boolean>;
  revision: Generated<number>;
  updated_at: CreatedAt | ColumnType<Date, Date | undefined, Date>;
};

export type ObservedHostRow = {
  tenant: string;
  plugin: string;
  host: string;
  port: number;
  /** A bigint, which comes as text. */
  tries: string | number;
  because: EgressReason;
  last_at: Date;
};

export type BundleRow = {
  sha256: Buffer;
  bytes: number;
  chunks: number;
  created_at: CreatedAt;
  /** Of what it is unpacked: see packages/tree.ts. */
  tree_hash: Buffer | null;
  /** On a disk. */
  unpacked_bytes: number | null;
};
export type BundleChunkRow = { sha256: Buffer; number: number; bytes: Buffer };

export type PackageRow = {
  tenant: string;
  plugin: string;
  dialect: string;
  sha256: Buffer;
  /** Path of the manifest inside the archive. */
  manifest: string;
  installed_at: CreatedAt | ColumnType<Date, Date | undefined, Date>;
};

export type JobRow = {
  id: string;
  tenant: string;
  plugin: string;
  task: string | null;
  /** JSON: what else there is of the request. */
  request: string;
  state: Generated<JobState>;
  priority: number;
  retries: Json<Retries>;
  singleton: string | null;
  debounce: string | null;
  cause: ColumnType<JobCause | null, string | null, string | null>;
  root: string | null;
  created_at: CreatedAt;
  start_after: Date;
  started_at: Date | null;
  ended_at: Date | null;
  keep_until: Date | null;
  cancel_asked_at: Date | null;
  node: string | null;
  claim: number | null;
  attempt: Generated<number>;
  /** Attempts since it was made, or redriven. */
  tries: Generated<number>;
  failures: Generated<number>;
  kills: Generated<number>;
  losses: Generated<number>;
  history: Generated<string>;
  told: Generated<number>;
  progress: number | null;
  output: string | null;
  failure: string | null;
  report: string | null;
  bytes: Generated<number>;
};

export type JobEventRow = { job: string; seq: number; at: Generated<Date>; kind: string; body: string };

export type IdempotencyKeyRow = {
  tenant: string;
  key: string;
  request_hash: Buffer;
  job: string | null;
  status: number | null;
  answer: string | null;
  expires_at: Date;
};

/** What a schedule and a trigger have in common: what they run. */
type Ordered = {
  tenant: string;
  id: string;
  plugin: string;
  task: string | null;
  /** JSON, as that of a job. */
  request: string;
  enabled: boolean;
  priority: number;
  retries: Json<Retries>;
  created_at: CreatedAt;
  revision: Generated<number>;
};

export type ScheduleRow = Ordered & {
  cron: string;
  time_zone: string;
  missed: Missed;
  next_at: Date | null;
  last_at: Date | null;
  last_job: string | null;
};

export type TriggerRow = Ordered & { on_plugin: string; on_task: string | null; on_end: TriggerEnd };

export type KeyRow = { name: string; value: Buffer };

export type HookPolicyRow = {
  tenant: string;
  run_order: Generated<HookOrder>;
  paused: Generated<boolean>;
  defer: ColumnType<Deferral | null, string | null, string | null>;
  revision: Generated<number>;
};

export type HeldEventRow = {
  id: string;
  tenant: string;
  type: string;
  object: number | null;
  how: HeldBecause;
  /** JSON: what else there is of it. */
  body: string;
  /** By the clock of the database, when nobody else could keep any: their order. */
  held_at: CreatedAt;
  due_at: Date;
};

export type PluginHubRow = { tenant: string; refresh_hours: Generated<number>; last_repo: Generated<number> };

export type PluginRepoRow = {
  tenant: string;
  id: number;
  url: string;
  name: string;
  registry_url: string;
  is_official: boolean;
  enabled: Generated<boolean>;
  public_key: string;
  verified: boolean | null;
  offers: Json<Offer[]>;
  /** JSON as it came. */
  manifest: string;
  fetched_at: Date;
  status: string;
  created_at: CreatedAt;
  updated_at: CreatedAt | ColumnType<Date, Date | undefined, Date>;
};

export type Tables = {
  plugin_hubs: PluginHubRow;
  plugin_repos: PluginRepoRow;
  keys: KeyRow;
  hook_policies: HookPolicyRow;
  held_events: HeldEventRow;
  schedules: ScheduleRow;
  triggers: TriggerRow;
  jobs: JobRow;
  job_events: JobEventRow;
  idempotency_keys: IdempotencyKeyRow;
  tenants: TenantRow;
  tokens: TokenRow;
  plugin_states: PluginStateRow;
  grants: GrantRow;
  observed_hosts: ObservedHostRow;
  bundles: BundleRow;
  bundle_chunks: BundleChunkRow;
  packages: PackageRow;
};
