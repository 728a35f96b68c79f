// A backup holds all there is, goes from one engine to the other, and into the tables of its own time.
import { strict as assert } from 'node:assert';
import { hash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Store } from '../../src/store/store.ts';
import { testDatabase } from '../support/databases.ts';

const scope = new AsyncDisposableStack();
let folder: string;
let embedded: Store;
let file: string;
let secret: string;
const archive = Buffer.alloc(1_500_000, 'bytes of a package');
const kept = {
  bytes: archive,
  sha256: hash('sha256', archive),
  treeHash: hash('sha256', 'tree'),
  unpackedBytes: 5_000_000_000,
};
const granted = {
  network: ['*.example.com'],
  files: [{ path: '/srv/media', mode: 'ro' as const }],
  limits: { wallMs: 5 },
};
const observed = {
  host: 'a.example.com',
  port: 443,
  tries: 3,
  because: 'granted' as const,
  lastAt: new Date('2026-01-02T03:04:05.678Z'),
};
const event = { type: 'E', object: 5, input: 'a\u0000\ud800', inputFields: ['x'] };
const repo = {
  url: 'https://plugins.example.com/manifest.json',
  publicKey: '',
  isOfficial: false,
  manifest: { name: 'R', registryUrl: '', verified: null, offers: [], text: '{ "b": 1, "a": "\\u0000" }' },
};
const plugins = [{ plugin: 'p', dialect: 'stash', manifest: 'p.yml' }];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'isopod-backup-'));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  embedded = scope.use(await Store.open({ url: undefined, dataDir: join(folder, 'data') }));
  await embedded.tenants.create('acme', { name: 'Ac"me\n\u2028😀', limits: { wallMs: 5 }, quotas: { running: 3 } });
  await embedded.tenants.update('acme', { enableServerPlugins: true });
  ({ secret } = await embedded.tenants.createToken('acme', { name: 'ci', scopes: ['invoke'] }));
  await embedded.of('acme').pluginStates.replace('p', JSON.parse('{"__proto__":1,"deep":{"list":[null,1.5,"é"]}}'));
  await embedded.of('acme').pluginStates.enable('p', true);
  await embedded.of('acme').packages.install(kept, plugins);
  await embedded.of('acme').grants.change('p', () => ({ grant: granted, observe: true }));
  await embedded.of('acme').grants.observe('p', [observed]);
  const policy = await embedded.of('acme').events.change({ paused: true, defer: { how: 'batch', ms: 5 } });
  await embedded.of('acme').events.hold({ id: 'e', wish: event, chain: null }, policy);
  await embedded.of('acme').pluginRepos.add(repo);
  file = join(folder, 'backup.gz');
});
afterAll(() => scope.disposeAsync());

async function fresh(): Promise<Store> {
  return scope.use(await Store.open({ url: scope.use(await testDatabase('empty')).url, dataDir: folder }));
}

test('what went in on the private server comes out on one of the user', async () => {
  const rows = await embedded.backup(file);
  const server = await fresh();
  expect(await server.restore(file)).toBe(rows);

  const [before, after] = [await embedded.tenants.get('acme'), await server.tenants.get('acme')];
  expect(after).toEqual(before);
  expect(after?.enableServerPlugins).toBe(true);
  expect(await server.tenants.bearer(secret)).toEqual(await embedded.tenants.bearer(secret));
  expect(JSON.stringify(await server.of('acme').pluginStates.get('p'))).toBe(
    JSON.stringify(await embedded.of('acme').pluginStates.get('p')),
  );
  expect(await server.of('acme').grants.get('p')).toEqual({ grant: granted, observe: true, revision: 2 });
  expect(await server.of('acme').grants.observed('p')).toEqual([observed]);
  expect(await server.of('acme').events.policy()).toEqual(await embedded.of('acme').events.policy());
  expect(await server.of('acme').events.count()).toBe(1);
  const repos = server.of('acme').pluginRepos;
  expect(await repos.list()).toEqual(await embedded.of('acme').pluginRepos.list());
  expect(await repos.manifests([1])).toEqual(new Map([[1, repo.manifest.text]]));
  expect((await repos.add({ ...repo, url: 'https://plugins.example.com/2.json' })).id).toBe(2);
  const [listed] = await server.of('acme').packages.list();
  assert(listed !== undefined);
  expect(listed).toMatchObject({ manifest: 'p.yml', treeHash: kept.treeHash });
  expect((await server.of('acme').packages.archive(listed)).equals(archive)).toBe(true);
  expect((await server.tenants.list()).map(({ id }) => id)).toEqual(['acme', 'default']);
});

test('a database that holds something is not touched', async () => {
  await embedded.backup(file);
  const server = await fresh();
  await server.tenants.create('mine');
  await assert.rejects(server.restore(file), /holds something already/);
  expect((await server.tenants.list()).map(({ id }) => id)).toEqual(['default', 'mine']);
});

test('a file that is none, is damaged, or is of a later version is refused with nothing lost', async () => {
  await embedded.backup(file);
  const lines = gunzipSync(await readFile(file))
    .toString()
    .split('\n');
  const write = async (text: string | Buffer) => {
    const path = join(folder, 'changed.gz');
    await writeFile(path, typeof text === 'string' ? gzipSync(text) : text);
    return path;
  };
  const server = await fresh();
  await assert.rejects(server.restore(await write('{"hello":1}\n')), /is no backup of isopod/);
  await assert.rejects(server.restore(await write(Buffer.from('no gzip'))), /header/);
  const later = lines.with(0, '{"isopod":"backup","version":9,"schema":"x"}').join('\n');
  await assert.rejects(server.restore(await write(later)), /version 9.*reads version 1/);
  const unknown = lines.with(0, '{"isopod":"backup","version":1,"schema":"9999-later"}').join('\n');
  await assert.rejects(server.restore(await write(unknown)), /does not know the database schema "9999-later"/);
  const broken = lines.slice(0, 3).join('\n');
  await assert.rejects(server.restore(await write(broken)), /breaks off in the middle of a line/);
  expect((await server.tenants.list()).map(({ id }) => id)).toEqual(['default']);
  await server.tenants.create('works');
});

test('a backup from before the newest tables is brought up to date', async () => {
  await embedded.backup(file);
  const lines = gunzipSync(await readFile(file))
    .toString()
    .split('\n');
  const old = lines.filter(
    (line) =>
      !/"table":"(bundles|bundle_chunks|packages|hook_policies|held_events|grants|observed_hosts|plugin_hubs|plugin_repos)"/.test(
        line,
      ),
  );
  const path = join(folder, 'old.gz');
  await writeFile(path, gzipSync(old.with(0, '{"isopod":"backup","version":1,"schema":"0001-tenants"}').join('\n')));
  const server = await fresh();
  const said: string[] = [];
  await server.restore(path, (what) => said.push(what));
  expect(said).toEqual(['bringing the database up to date (12 steps)']);
  await server.tenants.update('acme', { enableServerPlugins: null });
  await server.of('acme').packages.install(kept, plugins);
  expect(await server.tenants.bearer(secret)).toMatchObject({ tenant: 'acme' });
});

test('packages of a backup from before their trees were known find their manifests', async () => {
  await embedded.backup(file);
  const lines = gunzipSync(await readFile(file))
    .toString()
    .split('\n');
  const older = lines
    .filter(
      (line) => !/"table":"(hook_policies|held_events|grants|observed_hosts|plugin_hubs|plugin_repos)"/.test(line),
    )
    .map((line) => {
      if (line === '') return line;
      const { table, row, ...head } = JSON.parse(line);
      if (table === undefined) return JSON.stringify({ ...head, schema: '0002-packages' });
      const { tree_hash: _hash, unpacked_bytes: _unpacked, manifest: _manifest, ...rest } = row;
      return JSON.stringify({ table, row: table === 'packages' ? { ...rest, root: 'in/here' } : rest });
    });
  const path = join(folder, 'older.gz');
  await writeFile(path, gzipSync(older.join('\n')));
  const server = await fresh();
  await server.restore(path);
  const [listed] = await server.of('acme').packages.list();
  expect(listed).toMatchObject({ plugin: 'p', manifest: 'in/here/p.yml', treeHash: null });
  // Whoever installs the same archive again has it checked from then on.
  await server.of('acme').packages.install(kept, plugins);
  expect((await server.of('acme').packages.list())[0]).toMatchObject({ manifest: 'p.yml', treeHash: kept.treeHash });
});
