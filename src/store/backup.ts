/**
 * Everything we keep, as one file: to be safe, and to move from the private server to one of the user's.
 *
 * The file is gzip of JSON lines. The first is `{"isopod":"backup","version":1,"schema":"<last migration>"}`; each other
 * is `{"table":"…","row":{…}}`, a row as PostgreSQL's own to_jsonb writes it (bytes as `\x` and hexadecimal, times in
 * ISO 8601), tables in an order in which rows refer only to what came before. It is taken in one transaction, so it is
 * the state of one moment. It goes back in by jsonb_populate_record: into the schema of its time, which is then brought
 * up to date by the same migrations that would have done so where it came from.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { type Kysely, sql, type Transaction } from 'kysely';
import { assertKnown, latestMigration, migrate, SCHEMA } from './migrations.ts';

const VERSION = 1;
/** Rows that are fetched at once; one may be as large as a chunk of a package. */
const BATCH = 16;

/** In the order in which they go back. */
const TABLES = [
  'tenants',
  'tokens',
  'plugin_states',
  'grants',
  'observed_hosts',
  'bundles',
  'bundle_chunks',
  'packages',
  'jobs',
  'job_events',
  'idempotency_keys',
  'schedules',
  'triggers',
  'hook_policies',
  'held_events',
  'plugin_hubs',
  'plugin_repos',
] as const;

type Head = { isopod: 'backup'; version: number; schema: string };

/** Writes the file whole or not at all. Gives the number of rows. */
export async function backup<T>(db: Kysely<T>, file: string): Promise<number> {
  const unfinished = `${file}.part`;
  let rows = 0;
  try {
    await db
      .transaction()
      .setIsolationLevel('repeatable read')
      .execute(async (tx) => {
        const lines = async function* () {
          const head: Head = { isopod: 'backup', version: VERSION, schema: latestMigration() };
          yield `${JSON.stringify(head)}\n`;
          for (const table of TABLES) {
            for await (const row of rowsOf(tx, table)) {
              rows += 1;
              yield `{"table":"${table}","row":${row}}\n`;
            }
          }
        };
        await pipeline(Readable.from(lines()), createGzip(), createWriteStream(unfinished, { mode: 0o600 }));
      });
    await rename(unfinished, file);
  } finally {
    await rm(unfinished, { force: true });
  }
  return rows;
}

async function* rowsOf<T>(tx: Transaction<T>, table: string): AsyncGenerator<string> {
  await sql`declare rows cursor for select to_jsonb(t)::text as row from ${sql.table(table)} t`.execute(tx);
  for (;;) {
    const { rows } = await sql<{ row: string }>`fetch ${sql.lit(BATCH)} from rows`.execute(tx);
    if (rows.length === 0) break;
    for (const { row } of rows) yield row;
  }
  await sql`close rows`.execute(tx);
}

/**
 * Puts the file back into a database that holds nothing yet: all of it, or nothing. Gives the number of rows. Throws an
 * Error for the operator.
 */
export async function restore<T>(db: Kysely<T>, file: string, say: (what: string) => void): Promise<number> {
  if (!(await isUntouched(db))) {
    throw new Error('The database holds something already, which a restore would have to destroy: use an empty one');
  }
  const each = linesOf(file);
  const head = headOf((await each.next()).value, file);
  assertKnown(head.schema);
  try {
    await remake(db, head.schema);
    const rows = await fill(db, each, file);
    await migrate(db, say);
    return rows;
  } catch (error) {
    // It held nothing before, and so it does again.
    await remake(db);
    throw error;
  }
}

async function remake<T>(db: Kysely<T>, upTo?: string): Promise<void> {
  await sql`drop schema ${sql.id(SCHEMA)} cascade`.execute(db);
  await sql`create schema ${sql.id(SCHEMA)}`.execute(db);
  await migrate(db, () => {}, upTo);
}

async function fill<T>(db: Kysely<T>, each: AsyncGenerator<string, undefined>, file: string): Promise<number> {
  return await db.transaction().execute(async (tx) => {
    // What the migrations have put there is in the file too.
    await sql`delete from tenants`.execute(tx);
    let count = 0;
    for (let one = await each.next(); one.done !== true; one = await each.next()) {
      const { table, row } = JSON.parse(one.value) as { table: string; row: unknown };
      const name = TABLES.find((known) => known === table);
      if (name === undefined) throw new Error(`${file} has rows of a table "${table}", which is not known`);
      await sql`
        insert into ${sql.table(name)}
        select * from jsonb_populate_record(null::${sql.table(name)}, ${JSON.stringify(row)}::jsonb)`.execute(tx);
      count += 1;
    }
    return count;
  });
}

/** Lines end with a line feed and nothing else: node:readline takes U+2028 for an end, too. */
async function* linesOf(file: string): AsyncGenerator<string, undefined> {
  const gunzip = createGunzip().setEncoding('utf8');
  createReadStream(file)
    .on('error', (error) => gunzip.destroy(error))
    .pipe(gunzip);
  let rest = '';
  try {
    for await (const chunk of gunzip) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    throw new Error(`${file} is no backup of isopod, or is damaged: ${words}`, { cause: error });
  }
  if (rest !== '') throw new Error(`${file} breaks off in the middle of a line`);
  return undefined;
}

async function isUntouched<T>(db: Kysely<T>): Promise<boolean> {
  const { rows } = await sql<{ used: boolean }>`
    select exists (select from tenants where id <> 'default' or revision > 1)
      or exists (select from tokens) or exists (select from plugin_states) or exists (select from bundles)
      or exists (select from jobs) or exists (select from schedules) or exists (select from triggers)
      or exists (select from hook_policies) or exists (select from held_events) or exists (select from grants)
      or exists (select from plugin_hubs) as used
  `.execute(db);
  return rows[0]?.used === false;
}

function headOf(line: string | undefined, file: string): Head {
  let head: Partial<Head> = {};
  try {
    head = JSON.parse(line ?? '') as Partial<Head>;
  } catch {
    // Said below.
  }
  if (head.isopod !== 'backup' || typeof head.schema !== 'string') throw new Error(`${file} is no backup of isopod`);
  if (head.version !== VERSION) {
    throw new Error(`${file} is a backup of version ${head.version}, and this isopod reads version ${VERSION}`);
  }
  return head as Head;
}
