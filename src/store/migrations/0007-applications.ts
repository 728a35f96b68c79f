import { type Kysely, sql } from 'kysely';

/** Where the application of a tenant is, and in which variable of each node its credential. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table tenants add column application jsonb`.execute(db);
}
