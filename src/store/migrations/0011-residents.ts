import { type Kysely, sql } from 'kysely';

/** Plugins that nobody has trusted yet, those that were trusted once, and what is remembered of one that is not there. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table plugin_states alter column enabled drop not null, alter column enabled drop default`.execute(
    db,
  );
  await sql`alter table plugin_states add column ever_enabled boolean not null default false`.execute(db);
  await sql`alter table plugin_states add column known jsonb`.execute(db);
}
