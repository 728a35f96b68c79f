/** Databases on the server that all tests share, each for one test alone. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';

/** A database with our tables in it, and nothing else. */
export const TEMPLATE = 'isopod_template';

export type TestDatabase = { url: string } & AsyncDisposable;

/** `empty`: without our tables, as a user's new database is. */
export async function testDatabase(content: 'tables' | 'empty' = 'tables'): Promise<TestDatabase> {
  const connection = inject('postgres');
  const name = `test_${randomBytes(6).toString('hex')}`;
  const query = async (text: string) => {
    const client = new pg.Client(connection);
    await client.connect();
    await client.query(text).finally(() => client.end());
  };
  // Copying files is quicker than copying through the log, and nobody needs this one after a crash.
  await query(`create database ${name} ${content === 'tables' ? `template ${TEMPLATE} strategy file_copy` : ''}`);
  return {
    url: urlOf(connection, name),
    [Symbol.asyncDispose]: () => query(`drop database ${name} with (force)`),
  };
}

/** As a user would write it into DATABASE_URL. */
export function urlOf({ host, port, user, password }: pg.ClientConfig, database: string): string {
  return `postgresql://${user}:${password}@/${database}?host=${encodeURIComponent(String(host))}&port=${port}`;
}
