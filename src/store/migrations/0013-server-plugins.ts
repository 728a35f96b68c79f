import { type Kysely, sql } from 'kysely';

/** Whether the server plugins of a tenant may run; null leaves it to the configuration. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table tenants add column enable_server_plugins boolean`.execute(db);
}
