import { type Kysely, sql } from 'kysely';

/** How the events of a tenant set off hooks, and the events that are kept until they are due. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // There is a row only where something differs from what is done without one.
  await sql`
    create table hook_policies (
      tenant text primary key references tenants on delete cascade,
      run_order text not null default 'sequential' check (run_order in ('sequential', 'parallel')),
      paused boolean not null default false,
      defer jsonb,
      revision integer not null default 1
    )`.execute(db);
  await sql`
    create trigger tell after insert or update or delete on hook_policies
    for each row execute function tell('tenant')`.execute(db);

  // What an application or a plugin may have had a hand in is text, since jsonb takes no `\u0000`.
  await sql`
    create table held_events (
      id uuid primary key,
      tenant text not null references tenants on delete cascade,
      type text not null,
      object bigint,
      how text not null check (how in ('paused', 'batch', 'debounce')),
      body text not null,
      held_at timestamptz not null default clock_timestamp(),
      due_at timestamptz not null
    )`.execute(db);
  await sql`create index held_events_of_tenant on held_events (tenant, held_at, id)`.execute(db);
  await sql`create index held_events_due on held_events (due_at)`.execute(db);
}
