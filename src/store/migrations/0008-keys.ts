import { type Kysely, sql } from 'kysely';

/** What all nodes of a database sign with. Not backed up: what was signed with it is of no use elsewhere. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create table keys (name text primary key, value bytea not null)`.execute(db);
}
