import { type Kysely, sql } from 'kysely';

/** The least isolation grade at which the plugins of a tenant are run, where that is more than for all. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table tenants add column least_grade text
    check (least_grade in ('none', 'limited', 'fenced', 'contained', 'full'))`.execute(db);
}
