import { type Kysely, sql } from 'kysely';

/** What an archive must look like unpacked, and which file of it is the manifest of a plugin. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // Null for archives of before: what comes of them is not checked.
  await sql`alter table bundles add column tree_hash bytea check (length(tree_hash) = 32)`.execute(db);
  await sql`alter table packages add column manifest text`.execute(db);
  await sql`
    update packages
    set manifest = case when root in ('', '.') then '' else root || '/' end || plugin || '.yml'`.execute(db);
  await sql`alter table packages alter column manifest set not null`.execute(db);
  await sql`alter table packages drop column root`.execute(db);
}
