// The private server: that it belongs to one process, keeps what it was told, and does not outlive its owner.
import { strict as assert } from 'node:assert';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { EmbeddedServer } from '../../src/store/embedded/server.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'isopod-embedded-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function query(server: EmbeddedServer, text: string): Promise<unknown[]> {
  const client = new pg.Client(server.connection);
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

/** The process of the server itself. */
async function postmaster(dataDir: string): Promise<number> {
  return Number((await readFile(join(dataDir, 'postgres/18/data/postmaster.pid'), 'utf8')).split('\n')[0]);
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('it keeps what it was told, and says what takes time only when it does', async () => {
  const dataDir = join(folder, 'kept');
  const said: string[] = [];
  {
    await using server = await EmbeddedServer.start({ dataDir, say: (what) => said.push(what) });
    await query(server, 'create table t as select 42 as answer');
    expect(said).toEqual(['making a database in the data folder']);
  }
  await using server = await EmbeddedServer.start({ dataDir, say: (what) => said.push(what) });
  expect(await query(server, 'select answer from t')).toEqual([{ answer: 42 }]);
  expect(said).toHaveLength(1);
  expect(await query(server, 'show fsync')).toEqual([{ fsync: 'on' }]);
});

test('nobody comes in without its password, and nobody over the network', async () => {
  const dataDir = join(folder, 'closed');
  await using server = await EmbeddedServer.start({ dataDir });
  await assert.rejects(async () => {
    const client = new pg.Client({ ...server.connection, password: 'guess' });
    await client.connect();
  }, /password authentication failed/);
  expect(await query(server, 'show listen_addresses')).toEqual([{ listen_addresses: '' }]);
  for (const [path, mode] of [
    ['', 0o700],
    ['password', 0o600],
    ['socket', 0o700],
  ] as const) {
    expect((await stat(join(dataDir, 'postgres/18', path))).mode & 0o777).toBe(mode);
  }
});

test('a data folder has one owner, and the second is told what to do', async () => {
  const dataDir = join(folder, 'owned');
  await using _server = await EmbeddedServer.start({ dataDir });
  await assert.rejects(
    EmbeddedServer.start({ dataDir }),
    /Another isopod uses the data folder .*ISOPOD_DATA_DIR.*DATABASE_URL/,
  );
});

test('a path that is too long for a socket is no obstacle', async () => {
  const dataDir = join(folder, 'long'.repeat(20), 'folder'.repeat(10));
  await using server = await EmbeddedServer.start({ dataDir });
  expect(await query(server, 'select 1 as one')).toEqual([{ one: 1 }]);
});

test('an attempt that was broken off half way leaves nothing that counts', async () => {
  const dataDir = join(folder, 'broken');
  await mkdir(join(dataDir, 'postgres/18/data.new/base'), { recursive: true });
  await using server = await EmbeddedServer.start({ dataDir });
  expect(await query(server, 'select 1 as one')).toEqual([{ one: 1 }]);
});

test('a folder that cannot be made is said with its path', async () => {
  const dataDir = join(folder, 'file');
  await mkdir(dataDir);
  await writeFile(join(dataDir, 'postgres'), 'not a folder');
  await assert.rejects(EmbeddedServer.start({ dataDir }), /file\/postgres/);
});

test('it ends when its owner is killed, and the next owner finds all that was committed', async () => {
  const dataDir = join(folder, 'killed');
  const owner = await ownedBy(dataDir, 'create table t as select 7 as answer');
  const pid = await postmaster(dataDir);
  expect(isThere(pid)).toBe(true);
  owner.kill('SIGKILL');
  await once(owner, 'exit');

  await using server = await EmbeddedServer.start({ dataDir });
  expect(isThere(pid)).toBe(false);
  expect(await query(server, 'select answer from t')).toEqual([{ answer: 7 }]);
});

test('without a next owner it ends all the same', async () => {
  const dataDir = join(folder, 'alone');
  const owner = await ownedBy(dataDir, 'select 1');
  const pid = await postmaster(dataDir);
  owner.kill('SIGKILL');
  await vi.waitFor(() => expect(isThere(pid)).toBe(false), { timeout: 5000 });
});

/** A process that has started the server, and done something in it. */
async function ownedBy(dataDir: string, statement: string): Promise<ChildProcess> {
  const code = `
    import pg from 'pg';
    const { EmbeddedServer } = await import(${JSON.stringify(new URL('../../src/store/embedded/server.ts', import.meta.url))});
    const server = await EmbeddedServer.start({ dataDir: ${JSON.stringify(dataDir)} });
    const client = new pg.Client(server.connection);
    await client.connect();
    await client.query(${JSON.stringify(statement)});
    await client.end();
    console.log('up');`;
  const cwd = new URL('../..', import.meta.url);
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    cwd,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout ?? assert.fail(), 'data');
  return child;
}
