// Goal: whatever happens to the database, the service lives, says so, and goes on by itself when it is back.
// Method: a private server of the test's own, and real kills of its processes.
import { strict as assert } from 'node:assert';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { readFile, realpath, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { EmbeddedServer } from '../../src/store/embedded/server.ts';
import { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../support/folder.ts';
import { startTestService } from '../support/service.ts';

const PATIENCE = { timeout: 15_000, interval: 20 };

function dataOf(dataDir: string): string {
  return join(dataDir, 'postgres/18/data');
}

async function postmaster(dataDir: string): Promise<number> {
  return Number((await readFile(join(dataOf(dataDir), 'postmaster.pid'), 'utf8')).split('\n')[0]);
}

/** All processes of PostgreSQL that stand in the folder, as the kernel knows them. */
async function processesIn(dataDir: string): Promise<number[]> {
  const data = await realpath(dataOf(dataDir));
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && linkOf(name) === data)
    .map(Number);
}

function linkOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return '';
  }
}

async function overloaded(promise: Promise<unknown>): Promise<Failure> {
  const error = await promise.then(
    () => assert.fail('it went well'),
    (one) => one,
  );
  assert(error instanceof Failure, `not a Failure: ${error}`);
  expect(error.code).toBe('overloaded');
  return error;
}

test('a service whose database is killed says so, and goes on when it has started it again', async () => {
  await using service = await startTestService({ config: { databaseUrl: undefined } });
  const { store } = service.service.parts;
  const { dataDir } = service.config;
  const heard: unknown[] = [];
  using _listening = await store.onChange((change) => heard.push(change));
  const before = await postmaster(dataDir);

  // Broken files make it an outage of a length that we choose.
  const control = join(dataOf(dataDir), 'global/pg_control');
  await rename(control, `${control}.away`);
  process.kill(before, 'SIGKILL');
  await vi.waitFor(async () => expect((await service.get('/readyz')).status).toBe(503), PATIENCE);
  expect((await service.get('/readyz')).body).toMatchObject({
    code: 'overloaded',
    detail: 'The database cannot be reached',
  });
  expect((await service.get('/healthz')).status).toBe(200);
  const failure = await overloaded(store.tenants.get('default'));
  expect(failure.message).toBe('The database cannot be reached');
  expect(failure.details).toMatchObject({ retryable: true, retryAfterMs: 1_000, cause: expect.any(Error) });
  await vi.waitFor(() => expect(service.lines.join('')).toContain('pg_control'), PATIENCE);

  await rename(`${control}.away`, control);
  await vi.waitFor(async () => expect((await service.get('/readyz')).status).toBe(200), PATIENCE);
  expect(await store.tenants.get('default')).toMatchObject({ id: 'default' });
  expect(await postmaster(dataDir)).not.toBe(before);
  // Whoever listens looks at everything again, and hears what comes.
  expect(heard).toEqual([undefined]);
  await store.of('default').pluginStates.enable('x', false);
  await vi.waitFor(() => expect(heard).toContainEqual({ table: 'plugin_states', tenant: 'default' }), PATIENCE);

  const log = service.log();
  expect(log.filter(({ msg }) => msg === 'The database cannot be reached')).toMatchObject([{ level: 40 }]);
  expect(log.filter(({ msg }) => msg === 'The database can be reached again')).toMatchObject([{ level: 30 }]);
  const ended = log.find(({ msg }) => msg === 'The private PostgreSQL has ended and is started again');
  expect(ended).toMatchObject({ level: 40, cause: expect.stringContaining('SIGKILL') });
});

test('a process of a killed server that is too busy to notice is ended, and the next one starts', async () => {
  await using folder = await temporaryFolder();
  await using server = await EmbeddedServer.start({ dataDir: folder.path });
  const client = new pg.Client(server.connection);
  client.on('error', () => {});
  await client.connect();
  const busy = client.query('select count(*) from generate_series(1, 1e11::bigint) a(i) where i % 7 = 3');
  busy.catch(() => {});
  const pid = (client as unknown as { processID: number }).processID;
  await vi.waitFor(() => expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).toContain(') R '), PATIENCE);
  process.kill(await postmaster(folder.path), 'SIGKILL');
  await assert.rejects(busy);
  await vi.waitFor(() => expect(server.isUp).toBe(true), PATIENCE);
  expect(await processesIn(folder.path)).not.toContain(pid);
});

test('a backend that is killed takes its transaction with it, and others go on', async () => {
  await using folder = await temporaryFolder();
  await using store = await Store.open({ url: undefined, dataDir: folder.path });
  const before = await postmaster(folder.path);
  // It waits for the row that we hold, in a transaction.
  const holder = await connected(folder.path);
  await holder.query(`begin; update isopod.tenants set name = 'held' where id = 'default'`);
  const update = store.tenants.update('default', { name: 'changed' });
  update.catch(() => {});
  const watcher = await connected(folder.path);
  const { pid } = await vi.waitFor(async () => {
    const { rows } = await watcher.query(`select pid from pg_stat_activity where wait_event_type = 'Lock'`);
    assert(rows.length === 1);
    return rows[0];
  }, PATIENCE);
  process.kill(pid, 'SIGKILL');
  // It was not committed: whoever asked may ask again.
  expect((await overloaded(update)).details.retryable).toBe(true);
  const tenant = await vi.waitFor(() => store.tenants.get('default'), PATIENCE);
  expect(tenant?.name).toBe('default');
  expect(await postmaster(folder.path)).toBe(before);
});

test('closing while it is started again works, and leaves no process', async () => {
  await using folder = await temporaryFolder();
  const complaints: string[] = [];
  const server = await EmbeddedServer.start({
    dataDir: folder.path,
    complain: (what, words) => complaints.push(`${what}: ${words}`),
  });
  const control = join(dataOf(folder.path), 'global/pg_control');
  await rename(control, `${control}.away`);
  process.kill(await postmaster(folder.path), 'SIGKILL');
  await vi.waitFor(
    () => expect(complaints.join('\n')).toMatch(/cannot be started, which is tried again in 0\.5 s/),
    PATIENCE,
  );
  expect(complaints.join('\n')).toContain('pg_control');
  await server[Symbol.asyncDispose]();
  expect(await processesIn(folder.path)).toEqual([]);

  await rename(`${control}.away`, control);
  await using next = await EmbeddedServer.start({ dataDir: folder.path });
  expect(next.isUp).toBe(true);
});

test('a lock whose number belongs to somebody else by now keeps no server from starting', async () => {
  await using folder = await temporaryFolder();
  const server = await EmbeddedServer.start({ dataDir: folder.path });
  const lock = join(dataOf(folder.path), 'postmaster.pid');
  const text = await readFile(lock, 'utf8');
  await server[Symbol.asyncDispose]();
  await writeFile(lock, text.replace(/^\d+/, String(process.ppid)));
  await using next = await EmbeddedServer.start({ dataDir: folder.path });
  expect(next.isUp).toBe(true);
});

/** Somebody else in the same database, who goes with it. */
async function connected(dataDir: string): Promise<pg.Client> {
  const password = await readFile(join(dataDir, 'postgres/18/password'), 'utf8');
  const host = join(dataDir, 'postgres/18/socket');
  const client = new pg.Client({ host, user: 'isopod', password, database: 'postgres' });
  client.on('error', () => {});
  await client.connect();
  return client;
}
