import { type Kysely, sql } from 'kysely';

/** What plugins were granted beyond their folders and their application, and what they have tried to reach. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // There is a row only where something was ever granted.
  await sql`
    create table grants (
      tenant text not null references tenants on delete cascade,
      plugin text not null,
      network jsonb not null default '[]',
      files jsonb not null default '[]',
      limits jsonb not null default '{}',
      observe boolean not null default false,
      revision integer not null default 1,
      updated_at timestamptz not null default now(),
      primary key (tenant, plugin)
    )`.execute(db);
  await sql`
    create trigger tell after insert or update or delete on grants
    for each row execute function tell('tenant')`.execute(db);

  // Nobody is told of these: they are looked at when somebody asks.
  await sql`
    create table observed_hosts (
      tenant text not null references tenants on delete cascade,
      plugin text not null,
      host text not null,
      port integer not null,
      tries bigint not null,
      because text not null,
      last_at timestamptz not null,
      primary key (tenant, plugin, host, port)
    )`.execute(db);
}
