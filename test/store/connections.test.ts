// What the pool makes of a database that refuses, hangs or goes away: failures that say whether to ask again.
import { strict as assert } from 'node:assert';
import { createServer } from 'node:net';
import pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { type Connection, Connections, type ConnectionsOptions } from '../../src/store/connections.ts';
import { Database } from '../../src/store/database.ts';
import { inTransaction } from '../../src/store/transaction.ts';
import { type TestDatabase, testDatabase } from '../support/databases.ts';

let database: TestDatabase;
let admin: pg.Client;
beforeAll(async () => {
  database = await testDatabase();
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  await admin.query('create table notes (id integer primary key, words text)');
});
afterAll(async () => {
  await admin.end();
  await database[Symbol.asyncDispose]();
});

async function pool(
  options: Partial<ConnectionsOptions> = {},
): Promise<{ connections: Connections } & AsyncDisposable> {
  const connections = new Connections({ connectionString: database.url, most: 2, connectMs: 5_000, ...options });
  return { connections, [Symbol.asyncDispose]: () => connections.end() };
}

async function failure(promise: Promise<unknown>): Promise<Failure> {
  const error = await promise.then(
    () => assert.fail('it went well'),
    (one) => one,
  );
  assert(error instanceof Failure, `not a Failure: ${error}`);
  return error;
}

async function pidOf(connection: Connection): Promise<number> {
  const { rows } = await connection.query<{ pid: number }>('select pg_backend_pid() as pid', []);
  return rows[0]?.pid ?? 0;
}

async function terminate(pid: number): Promise<void> {
  await admin.query('select pg_terminate_backend($1, 5000)', [pid]);
}

test('where nobody listens a statement may be sent again', async () => {
  const free = createServer();
  const port = await new Promise<number>((resolve) => {
    free.listen(0, '127.0.0.1', () => resolve((free.address() as { port: number }).port));
  });
  await new Promise((resolve) => free.close(resolve));
  const url = `postgresql://somebody:secret@127.0.0.1:${port}/none`;
  await using one = await pool({ connectionString: url });
  const { code, message, details } = await failure(one.connections.query('select 1'));
  expect([code, message, details.retryable]).toEqual(['overloaded', 'The database cannot be reached', true]);
  expect(details.cause).toMatchObject({ code: 'ECONNREFUSED' });
  await assert.rejects(
    Database.open({ url, dataDir: '/nowhere' }),
    /^Error: The database cannot be used: connect ECONNREFUSED/,
  );
});

test('a full pool makes nobody wait for longer than it says, and says that it is full', async () => {
  await using one = await pool({ most: 1, connectMs: 100 });
  const holder = await one.connections.connect();
  const { message, details } = await failure(one.connections.query('select 1'));
  expect([message, details.retryable]).toEqual(['All 1 connections to the database are in use', true]);
  holder.release();
  expect((await one.connections.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
});

test('nobody has all connections, and those who wait take turns', async () => {
  await using one = await pool({ most: 4 });
  const { connections } = one;
  const greedy = Array.from({ length: 6 }, () => connections.connect('greedy'));
  const held = await Promise.all(greedy.slice(0, 3));
  // The fourth is not for whoever has three.
  (await connections.connect('other')).release();

  const last = await connections.connect('somebody');
  const served: string[] = [];
  const serve = async (who: string, connecting = connections.connect(who)) => {
    const connection = await connecting;
    served.push(who);
    connection.release();
  };
  const all = [...greedy.slice(3).map((connecting) => serve('greedy', connecting)), serve('other'), serve('third')];
  held.pop()?.release();
  await vi.waitFor(() => expect(served.sort()).toEqual(['other', 'third']));
  for (const connection of [...held, last]) connection.release();
  await Promise.all(all);
});

test('a line that is too long gives way to others, and says why', async () => {
  await using one = await pool({ most: 2, connectMs: 60_000 });
  const { connections } = one;
  const held = await Promise.all([connections.connect('greedy'), connections.connect('greedy')]);
  const waiting = Array.from({ length: 1_000 }, () => connections.connect('greedy'));
  const { message } = await failure(connections.connect('greedy'));
  expect(message).toBe('All 2 connections to the database are in use');

  const other = connections.connect('other');
  expect((await failure(waiting.pop() as Promise<unknown>)).code).toBe('overloaded');
  held[0]?.release();
  held[1]?.release();
  const released = waiting.map(async (connecting) => (await connecting).release());
  (await other).release();
  await Promise.all(released);
});

test('an error about the statement itself stays what it is, and the connection is used again', async () => {
  await using one = await pool({ most: 1 });
  const connection = await one.connections.connect();
  const pid = await pidOf(connection);
  await connection.query('insert into notes values (1)', []);
  await assert.rejects(connection.query('insert into notes values (1)', []), { code: '23505' });
  connection.release();
  const again = await one.connections.connect();
  expect(await pidOf(again)).toBe(pid);
  again.release();
});

test('a statement that broke off may have had its effect; in a transaction it has not', async () => {
  await using one = await pool();
  for (const [begin, retryable] of [
    [false, false],
    [true, true],
  ] as const) {
    const connection = await one.connections.connect();
    const pid = await pidOf(connection);
    if (begin) await connection.query('begin', []);
    const statement = failure(connection.query('select pg_sleep(60)', []));
    await vi.waitFor(async () => {
      const { rows } = await admin.query(`select 1 from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'`, [
        pid,
      ]);
      expect(rows).toHaveLength(1);
    });
    await terminate(pid);
    expect((await statement).details.retryable).toBe(retryable);
    connection.release();
  }
});

test('a commit that nobody answered is not said to be safe to repeat, whatever comes after it', async () => {
  await admin.query(`
    create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(60); return null; end $$;
    create table slow_notes (id integer);
    create constraint trigger slow after insert on slow_notes deferrable initially deferred
      for each row execute function slow()`);
  await using one = await pool();
  const connection = await one.connections.connect();
  const pid = await pidOf(connection);
  await connection.query('begin', []);
  await connection.query('insert into slow_notes values (1)', []);
  const commit = failure(connection.query('commit', []));
  await vi.waitFor(async () => {
    const { rows } = await admin.query(`select 1 from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'`, [
      pid,
    ]);
    expect(rows).toHaveLength(1);
  });
  await terminate(pid);
  expect((await commit).details.retryable).toBe(false);
  expect(await failure(connection.query('rollback', []))).toBe(await commit);
  connection.release();
});

test('a connection that breaks while its transaction thinks is told at the next statement', async () => {
  await using one = await pool();
  const connection = await one.connections.connect();
  const pid = await pidOf(connection);
  await connection.query('begin', []);
  await terminate(pid);
  const { message, details } = await failure(connection.query('select 1', []));
  expect([message, details.retryable]).toEqual(['The database cannot be reached', true]);
  connection.release();
  expect((await one.connections.query('select 1 as one')).rows).toHaveLength(1);
});

test('a statement that takes too long is ended, by the server or by us', async () => {
  await using patient = await pool({ options: '-c statement_timeout=50' });
  const ended = await failure(patient.connections.query('select pg_sleep(60)'));
  expect([ended.message, ended.details.retryable]).toEqual(['The database took too long', true]);

  await using silent = await pool({ most: 1, answerMs: 100 });
  const given = await failure(silent.connections.query('select pg_sleep(60)'));
  expect([given.message, given.details.retryable]).toEqual(['The database cannot be reached', false]);
  // That connection still waits for its answer; another one does not have to.
  expect((await silent.connections.query('select 1 as one')).rows).toHaveLength(1);
});

test("transactions that get into each other's way are done again, each of them whole", async () => {
  await using opened = await Database.open({ url: database.url, dataDir: '/nowhere', connections: 4 });
  const { db } = opened;
  const ids = ['deadlock-a', 'deadlock-b'];
  await db
    .insertInto('tenants')
    .values(ids.map((id) => ({ id, name: '', limits: '{}', quotas: '{}' })))
    .execute();
  const both = Promise.withResolvers<void>();
  let waiting = 0;
  let tries = 0;
  const rename = (first: string, second: string) =>
    inTransaction(db, async (tx) => {
      tries += 1;
      const name = `by ${first}`;
      await tx.updateTable('tenants').set({ name }).where('id', '=', first).execute();
      waiting += 1;
      if (waiting === 2) both.resolve();
      await both.promise;
      await tx.updateTable('tenants').set({ name }).where('id', '=', second).execute();
    });
  await Promise.all([rename(ids[0] as string, ids[1] as string), rename(ids[1] as string, ids[0] as string)]);
  expect(tries).toBeGreaterThan(2);
  const rows = await db.selectFrom('tenants').select('name').where('id', 'in', ids).execute();
  expect(rows[0]).toEqual(rows[1]);
});

test('options that are part of the URL and our own both count', async () => {
  const url = `${database.url}&options=${encodeURIComponent('-c work_mem=7MB')}`;
  await using opened = await Database.open({ url, dataDir: '/nowhere' });
  const { rows } = await opened.connections.query(
    `select current_setting('work_mem') as mem, current_setting('search_path') as path,
            current_setting('statement_timeout') as most`,
  );
  expect(rows).toEqual([{ mem: '7MB', path: 'isopod', most: '30s' }]);
  const unhurried = await opened.unhurried((db) => db.selectFrom('tenants').select('id').execute());
  expect(unhurried.map(({ id }) => id)).toContain('default');
});
