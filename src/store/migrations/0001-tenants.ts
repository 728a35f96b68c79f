import { type Kysely, sql } from 'kysely';

/** Tenants, their tokens, and what they have set for their plugins. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table tenants (
      id text primary key check (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
      name text not null,
      created_at timestamptz not null default now(),
      limits jsonb not null default '{}',
      quotas jsonb not null default '{}',
      trust_group text,
      revision integer not null default 1
    )`.execute(db);

  // A token is shown once. What is kept opens nothing.
  await sql`
    create table tokens (
      id text primary key,
      tenant text not null references tenants on delete cascade,
      name text not null,
      hash bytea not null unique,
      scopes text[] not null,
      created_at timestamptz not null default now(),
      expires_at timestamptz,
      revoked_at timestamptz
    )`.execute(db);
  await sql`create index tokens_of_tenant on tokens (tenant, created_at)`.execute(db);

  // There is a row only where something differs from what a plugin is without one: enabled, nothing set.
  await sql`
    create table plugin_states (
      tenant text not null references tenants on delete cascade,
      plugin text not null,
      enabled boolean not null default true,
      settings jsonb not null default '{}',
      revision integer not null default 1,
      updated_at timestamptz not null default now(),
      primary key (tenant, plugin)
    )`.execute(db);

  // Whoever changes something tells all nodes, in the same transaction, without having to remember it.
  await sql`
    create function tell() returns trigger language plpgsql as $$
    declare
      changed record := coalesce(new, old);
    begin
      perform pg_notify('isopod_changes', tg_table_name || ' ' || (to_jsonb(changed) ->> tg_argv[0]));
      return null;
    end
    $$`.execute(db);
  await sql`create trigger tell after insert or update or delete on tenants for each row execute function tell('id')`.execute(
    db,
  );
  for (const table of ['tokens', 'plugin_states']) {
    await sql`
      create trigger tell after insert or update or delete on ${sql.table(table)}
      for each row execute function tell('tenant')`.execute(db);
  }

  await sql`insert into tenants (id, name) values ('default', 'default')`.execute(db);
}
