import { type Kysely, sql } from 'kysely';

/** Packages that were installed: archives by what is in them, in chunks, and which tenant has which. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table bundles (
      sha256 bytea primary key check (length(sha256) = 32),
      bytes integer not null,
      chunks integer not null,
      created_at timestamptz not null default now()
    )`.execute(db);
  await sql`
    create table bundle_chunks (
      sha256 bytea not null references bundles on delete cascade,
      number integer not null,
      bytes bytea not null,
      primary key (sha256, number)
    )`.execute(db);
  // An archive is compressed already; trying again would only take time.
  await sql`alter table bundle_chunks alter column bytes set storage external`.execute(db);
  await sql`
    create table packages (
      tenant text not null references tenants on delete cascade,
      plugin text not null,
      dialect text not null,
      sha256 bytea not null references bundles,
      root text not null,
      installed_at timestamptz not null default now(),
      primary key (tenant, plugin)
    )`.execute(db);
  await sql`create index packages_of_bundle on packages (sha256)`.execute(db);
  await sql`
    create trigger tell after insert or update or delete on packages
    for each row execute function tell('tenant')`.execute(db);
}
