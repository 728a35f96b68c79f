import { type Kysely, sql } from 'kysely';

/** How much room an archive takes unpacked, which counts for whoever has it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // Null for archives of before: they count as what they are packed, until they are installed again.
  await sql`alter table bundles add column unpacked_bytes bigint check (unpacked_bytes >= 0)`.execute(db);
}
