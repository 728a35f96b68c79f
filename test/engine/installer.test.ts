// Installed plugins of several tenants on several nodes: one database, and a data folder for each node.
import { strict as assert } from 'node:assert';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { Catalogues } from '../../src/engine/catalogue.ts';
import { Installed } from '../../src/engine/installed.ts';
import { Installer } from '../../src/engine/installer.ts';
import { ManifestReader } from '../../src/manifests/reader.ts';
import { stash } from '../../src/manifests/stash.ts';
import { PrivateCopies } from '../../src/packages/private-copies.ts';
import { Remover } from '../../src/packages/remover.ts';
import { UnpackCache } from '../../src/packages/unpack-cache.ts';
import { Unpacker } from '../../src/packages/unpacker.ts';
import { Store } from '../../src/store/store.ts';
import { testDatabase } from '../support/databases.ts';
import { zipOf } from '../support/zip.ts';

const scope = new AsyncDisposableStack();
const never = new AbortController().signal;
const dialects = [stash];
const TENANT_BYTES = 1_000_000;
let root: string;
let store: Store;
let unpacker: Unpacker;
let stranger: Unpacker;
let remover: Remover;
let reader: ManifestReader;
let tenant: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'isopod-installer-'));
  scope.defer(() => rm(root, { recursive: true, force: true }));
  store = scope.use(await Store.open({ url: scope.use(await testDatabase()).url, dataDir: root }));
  unpacker = scope.use(new Unpacker());
  stranger = scope.use(new Unpacker());
  remover = scope.use(new Remover());
  reader = scope.use(new ManifestReader());
});
afterAll(() => scope.disposeAsync());

let tenants = 0;
beforeEach(async () => {
  tenants += 1;
  tenant = `tenant-${tenants}`;
  await store.tenants.create(tenant);
});

/** What one node has. */
class Node {
  readonly dataDir: string;
  readonly cache: UnpackCache;
  readonly installer: Installer;
  readonly #catalogues = new Map<string, Catalogues>();

  private constructor(dataDir: string) {
    this.dataDir = dataDir;
    this.cache = new UnpackCache({ dir: join(dataDir, 'cache'), unpacker, stranger, bytes: 0 });
    this.installer = new Installer({
      store,
      cache: this.cache,
      reader,
      dialects,
      tenantBytes: TENANT_BYTES,
      catalogue: async (id) => this.of(id).current,
      refresh: async (id) => void (await this.of(id).reload()),
    });
  }

  static async start(): Promise<Node> {
    return new Node(await mkdtemp(join(root, 'node-')));
  }

  of(id: string): Catalogues {
    const known = this.#catalogues.get(id);
    if (known !== undefined) return known;
    const dir = join(this.dataDir, 'tenants', id);
    const copies = new PrivateCopies(join(dir, 'packages'), unpacker, remover);
    const installed = new Installed({ records: store.of(id).packages, cache: this.cache, copies });
    const made = scope.use(new Catalogues({ pluginsDir: join(dir, 'plugins'), dialects, reader, installed }));
    this.#catalogues.set(id, made);
    return made;
  }
}

const embedded = (name: string, code = '1') => ({
  [`${name}.yml`]: `name: ${name}\ninterface: js\nexec: [${name}.js]\n`,
  [`${name}.js`]: code,
});
const external = (name: string) => ({
  [`${name}.yml`]: `name: ${name}\ninterface: raw\nexec: [run.sh]\n`,
  'run.sh': '#!/bin/sh\n',
});

test('what is installed on one node is there on another as soon as it looks', async () => {
  const [here, there] = [await Node.start(), await Node.start()];
  await there.of(tenant).reload();
  await here.installer.install(tenant, zipOf({ ...embedded('js'), ...external('sh') }), never);
  const { plugins, packages, refused } = await there.of(tenant).reload();
  expect([[...plugins.keys()], [...packages.keys()], refused]).toEqual([['js', 'sh'], ['js', 'sh'], []]);
  const [js, sh] = [...plugins.values()];
  assert(js !== undefined && sh !== undefined);
  expect(js.dir.startsWith(join(there.dataDir, 'cache'))).toBe(true);
  expect(sh.dir.startsWith(join(there.dataDir, 'tenants', tenant, 'packages'))).toBe(true);
  expect(await readFile(sh.manifestFile, 'utf8')).toMatch(/name: sh/);

  await there.installer.remove(tenant, 'js', 'keep');
  expect([...(await here.of(tenant).reload()).plugins.keys()]).toEqual(['sh']);
});

test('two tenants with the same archive share what nobody writes to, and nothing else', async () => {
  const node = await Node.start();
  const other = `${tenant}-b`;
  await store.tenants.create(other);
  const archive = () => zipOf({ ...embedded('js'), ...external('sh') });
  for (const id of [tenant, other]) await node.installer.install(id, archive(), never);
  const [mine, theirs] = [node.of(tenant).current.plugins, node.of(other).current.plugins];
  expect(mine.get('js')?.dir).toBe(theirs.get('js')?.dir);
  const [myDir = '', theirDir = ''] = [mine.get('sh')?.dir, theirs.get('sh')?.dir];
  expect(myDir).not.toBe(theirDir);
  await writeFile(join(myDir, 'run.sh'), 'mine');
  expect(await readFile(join(theirDir, 'run.sh'), 'utf8')).toBe('#!/bin/sh\n');

  await node.installer.remove(tenant, 'sh', 'keep');
  const left = () => readdir(join(node.dataDir, 'tenants', tenant, 'packages'));
  // The other plugin of the archive is installed still.
  expect(await left()).toHaveLength(1);
  await node.installer.remove(tenant, 'js', 'keep');
  await vi.waitFor(async () => expect(await left()).toEqual([]));
  expect(await readFile(join(theirDir, 'run.sh'), 'utf8')).toBe('#!/bin/sh\n');
});

test('a plugin whose archive is the same stays the same object', async () => {
  const node = await Node.start();
  await node.installer.install(tenant, zipOf({ ...embedded('js'), ...external('sh') }), never);
  const before = node.of(tenant).current.plugins;
  const after = (await node.of(tenant).reload()).plugins;
  expect(after).not.toBe(before);
  for (const id of ['js', 'sh']) expect(after.get(id)).toBe(before.get(id));
  await node.installer.install(tenant, zipOf(embedded('js', '2')), never);
  expect(node.of(tenant).current.plugins.get('js')).not.toBe(before.get('js'));
  expect(node.of(tenant).current.plugins.get('sh')).toBe(before.get('sh'));
});

test('what a program does to the folders of others is undone before they are used again', async () => {
  const node = await Node.start();
  await node.installer.install(tenant, zipOf(embedded('js', 'honest')), never);
  const dir = node.of(tenant).current.plugins.get('js')?.dir ?? '';
  await chmod(join(dir, 'js.js'), 0o644);
  await writeFile(join(dir, 'js.js'), 'evil');
  await writeFile(join(dir, 'more.yml'), 'name: more');
  const { plugins } = await node.of(tenant).reload();
  expect([...plugins.keys()]).toEqual(['js']);
  expect(await readFile(join(dir, 'js.js'), 'utf8')).toBe('honest');
  expect(await readdir(dir)).not.toContain('more.yml');
});

test('an archive that cannot be had is refused by name, and the others are loaded', async () => {
  const node = await Node.start();
  await node.installer.install(tenant, zipOf(embedded('good')), never);
  const missing = await node.installer.install(tenant, zipOf(external('lost')), never);
  const elsewhere = await Node.start();
  const records = store.of(tenant).packages;
  const installed = new Installed({
    records: {
      list: () => records.list(),
      archive: async (one) => {
        if (one.sha256 === missing.sha256) throw new Error('connection lost at 10.0.0.7');
        return records.archive(one);
      },
    },
    cache: elsewhere.cache,
    copies: new PrivateCopies(join(elsewhere.dataDir, 'copies'), unpacker, remover),
  });
  await using catalogues = new Catalogues({ pluginsDir: join(root, 'none'), dialects, reader, installed });
  const { plugins, refused } = await catalogues.reload();
  expect([...plugins.keys()]).toEqual(['good']);
  expect(refused).toEqual([
    {
      file: `${missing.sha256.slice(0, 12)}.zip/lost.yml`,
      line: null,
      column: null,
      reason: 'its archive cannot be unpacked on this node',
    },
  ]);
});

test('a plain folder counts, and its package waits behind it', async () => {
  const node = await Node.start();
  const folder = join(node.dataDir, 'tenants', tenant, 'plugins/stash/same');
  await node.installer.install(tenant, zipOf(embedded('same')), never);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'same.yml'), 'name: plain');
  const { plugins, packages, refused } = await node.of(tenant).reload();
  expect([plugins.get('same')?.name, packages.size, refused.length]).toEqual(['plain', 0, 1]);
  const conflict = node.installer.install(tenant, zipOf(embedded('Same')), never);
  await assert.rejects(conflict, { code: 'conflict' });
});

test('whoever goes away before anything has happened has changed nothing', async () => {
  const node = await Node.start();
  const gone = AbortSignal.abort(new Failure('cancelled', 'The caller went away'));
  await assert.rejects(node.installer.install(tenant, zipOf(embedded('js')), gone), { code: 'cancelled' });
  expect(await store.of(tenant).packages.list()).toEqual([]);
});

test('of several installations at once each is whole, and the last one counts', async () => {
  const node = await Node.start();
  const outcomes = await Promise.all(
    ['1', '2'].map((code) => node.installer.install(tenant, zipOf(embedded('js', code)), never)),
  );
  expect(outcomes.filter(({ replaced }) => replaced.length === 1)).toHaveLength(1);
  const dir = node.of(tenant).current.plugins.get('js')?.dir ?? '';
  const [kept] = await store.of(tenant).packages.list();
  expect(dir.endsWith(String(kept?.sha256))).toBe(true);
  expect(await store.bundles.removeUnused()).toBe(0);
});

test('nobody can install for a tenant that is not there', async () => {
  const node = await Node.start();
  await assert.rejects(node.installer.install('nobody', zipOf(embedded('js')), never), { code: 'not_found' });
});

describe('what an archive takes', () => {
  test('is one copy for all of its programs, as long as one of them is installed from it', async () => {
    const node = await Node.start();
    const copies = () => readdir(join(node.dataDir, 'tenants', tenant, 'packages'));
    const names = Array.from({ length: 30 }, (_, at) => `p${at}`);
    const all = Object.assign({}, ...names.map(external));
    const { sha256 } = await node.installer.install(tenant, zipOf(all), never);
    expect(node.of(tenant).current.plugins.size).toBe(30);
    expect(await copies()).toEqual([sha256]);
    const dir = node.of(tenant).current.plugins.get('p0')?.dir ?? '';
    await writeFile(join(dir, 'state'), 'kept');

    const other = await node.installer.install(tenant, zipOf({ ...external('p0'), more: 'x' }), never);
    await vi.waitFor(async () => expect((await copies()).sort()).toEqual([sha256, other.sha256].sort()));
    expect(await readFile(join(dir, 'state'), 'utf8')).toBe('kept');
    for (const name of names.slice(1)) await store.of(tenant).packages.remove(name);
    await node.of(tenant).reload();
    await vi.waitFor(async () => expect(await copies()).toEqual([other.sha256]));
  });

  test('is bounded in plugins', async () => {
    const node = await Node.start();
    const archive = (count: number) =>
      zipOf(Object.fromEntries(Array.from({ length: count }, (_, at) => [`p${at}.yml`, 'name: p'])));
    await assert.rejects(node.installer.install(tenant, archive(101), never), {
      code: 'package_rejected',
      details: { limit: { name: 'plugins', allowed: 100, observed: 101, unit: 'count' } },
    });
    expect((await node.installer.install(tenant, archive(100), never)).plugins).toHaveLength(100);
  });

  test('counts unpacked: against the quota, and against what every tenant may take', async () => {
    const node = await Node.start();
    const archive = (name: string, bytes: number) => zipOf({ ...embedded(name), data: Buffer.alloc(bytes) });
    await assert.rejects(node.installer.install(tenant, archive('large', TENANT_BYTES), never), {
      code: 'quota_exceeded',
      details: { limit: { name: 'packages.tenantBytes', allowed: TENANT_BYTES, observed: 1_011_712, unit: 'bytes' } },
    });
    // Empty files take room, too.
    const empty = Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`empty/${at}`, '']));
    await assert.rejects(node.installer.install(tenant, zipOf({ ...embedded('many'), ...empty }), never), {
      code: 'quota_exceeded',
    });
    await node.installer.install(tenant, archive('one', 500_000), never);
    await assert.rejects(node.installer.install(tenant, archive('two', 500_000), never), { code: 'quota_exceeded' });

    await store.tenants.update(tenant, { quotas: { storedBytes: 100_000 } });
    await assert.rejects(node.installer.install(tenant, archive('one', 200_000), never), (error) => {
      expect(Failure.from(error).details.limit).toMatchObject({ name: 'quotas.storedBytes', allowed: 100_000 });
      return true;
    });
    await node.installer.install(tenant, archive('one', 50_000), never);
    expect((await store.of(tenant).packages.list()).map(({ plugin }) => plugin)).toEqual(['one']);
  });
});
