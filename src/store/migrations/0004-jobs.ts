import { type Kysely, sql } from 'kysely';

/**
 * Jobs: requests that are kept until they have been run. When each is due, who runs it and whether its node still
 * lives is the business of pg-boss, which has a row of the same id in a schema of its own; what it is and what came of
 * it is here. What plugins may have had a hand in is text, since jsonb takes no `\u0000`.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table jobs (
      id uuid primary key,
      tenant text not null references tenants on delete cascade,
      plugin text not null,
      task text,
      request text not null,
      state text not null default 'waiting'
        check (state in ('waiting', 'running', 'succeeded', 'failed', 'cancelled', 'dead')),
      priority integer not null default 0,
      retries jsonb not null,
      singleton text,
      debounce text,
      cause jsonb,
      root uuid,
      created_at timestamptz not null default now(),
      start_after timestamptz not null default now(),
      started_at timestamptz,
      ended_at timestamptz,
      keep_until timestamptz,
      cancel_asked_at timestamptz,
      node text,
      claim integer,
      attempt integer not null default 0,
      tries integer not null default 0,
      failures integer not null default 0,
      kills integer not null default 0,
      losses integer not null default 0,
      history text not null default '[]',
      told integer not null default 0,
      progress double precision,
      output text,
      failure text,
      report text,
      bytes bigint not null default 0
    )`.execute(db);
  await sql`create index jobs_of_tenant on jobs (tenant, id desc)`.execute(db);
  await sql`create index jobs_by_state on jobs (tenant, state, id desc)`.execute(db);
  await sql`create index jobs_unended on jobs (id) where state in ('waiting', 'running')`.execute(db);
  await sql`create index jobs_of_root on jobs (root) where root is not null`.execute(db);
  await sql`create index jobs_past on jobs (keep_until) where keep_until is not null`.execute(db);
  await sql`
    create unique index jobs_singleton on jobs (tenant, singleton)
    where singleton is not null and state in ('waiting', 'running')`.execute(db);
  await sql`
    create unique index jobs_debounce on jobs (tenant, debounce)
    where debounce is not null and state = 'waiting'`.execute(db);

  // What a plugin said while it ran. The first and the last event of a job are its row.
  await sql`
    create table job_events (
      job uuid not null references jobs on delete cascade,
      seq integer not null,
      at timestamptz not null default now(),
      kind text not null,
      body text not null,
      primary key (job, seq)
    )`.execute(db);

  // Answers under the keys of callers, so that asking twice does once.
  await sql`
    create table idempotency_keys (
      tenant text not null references tenants on delete cascade,
      key text not null,
      request_hash bytea not null,
      job uuid,
      status integer,
      answer text,
      expires_at timestamptz not null,
      primary key (tenant, key)
    )`.execute(db);
  await sql`create index idempotency_keys_past on idempotency_keys (expires_at)`.execute(db);

  await sql`
    create table schedules (
      tenant text not null references tenants on delete cascade,
      id text not null,
      plugin text not null,
      task text,
      request text not null,
      cron text not null,
      time_zone text not null,
      missed text not null check (missed in ('skip', 'once', 'all')),
      enabled boolean not null,
      priority integer not null,
      retries jsonb not null,
      next_at timestamptz,
      last_at timestamptz,
      last_job uuid,
      created_at timestamptz not null default now(),
      revision integer not null default 1,
      primary key (tenant, id)
    )`.execute(db);
  await sql`create index schedules_due on schedules (next_at) where enabled`.execute(db);

  await sql`
    create table triggers (
      tenant text not null references tenants on delete cascade,
      id text not null,
      on_plugin text not null,
      on_task text,
      on_end text not null check (on_end in ('succeeded', 'failed', 'any')),
      plugin text not null,
      task text,
      request text not null,
      enabled boolean not null,
      priority integer not null,
      retries jsonb not null,
      created_at timestamptz not null default now(),
      revision integer not null default 1,
      primary key (tenant, id)
    )`.execute(db);
  await sql`create index triggers_on on triggers (tenant, on_plugin) where enabled`.execute(db);
}
