import { type Kysely, sql } from 'kysely';

/** Repositories of plugins, each a manifest at a URL, as it was fetched last. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // There is a row only where something was ever added or set.
  await sql`
    create table plugin_hubs (
      tenant text primary key references tenants on delete cascade,
      refresh_hours integer not null default 6,
      last_repo integer not null default 0
    )`.execute(db);

  // The manifest is the text as it came: a signature is for it alone, and jsonb would put its keys into another order.
  await sql`
    create table plugin_repos (
      tenant text not null references tenants on delete cascade,
      id integer not null,
      url text not null,
      name text not null,
      registry_url text not null,
      is_official boolean not null,
      enabled boolean not null default true,
      public_key text not null default '',
      verified boolean,
      offers jsonb not null default '[]',
      manifest text not null,
      fetched_at timestamptz not null,
      status text not null,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now(),
      primary key (tenant, id),
      unique (tenant, url)
    )`.execute(db);
  await sql`create index plugin_repos_due on plugin_repos (fetched_at) where enabled`.execute(db);
}
