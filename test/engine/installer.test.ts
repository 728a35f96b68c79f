// Installed plugins of several tenants on several nodes: one database, and a data folder for each node.
import { strict as assert } from 'node:assert';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { Catalogues } from '../../src/engine/catalogue.ts';
import { Homes } from '../../src/engine/homes.ts';
import { Installed } from '../../src/engine/installed.ts';
import { Installer, type InstallOptions } from '../../src/engine/installer.ts';
import type { Tenancy } from '../../src/engine/tenancy.ts';
import { dispatcharr } from '../../src/manifests/dispatcharr.ts';
import { ManifestReader } from '../../src/manifests/reader.ts';
import { sillytavern } from '../../src/manifests/sillytavern.ts';
import { stash } from '../../src/manifests/stash.ts';
import { PrivateCopies } from '../../src/packages/private-copies.ts';
import { Remover } from '../../src/packages/remover.ts';
import { UnpackCache } from '../../src/packages/unpack-cache.ts';
import { Unpacker } from '../../src/packages/unpacker.ts';
import { Store } from '../../src/store/store.ts';
import { testDatabase } from '../support/databases.ts';
import { zip, zipOf } from '../support/zip.ts';

const scope = new AsyncDisposableStack();
const never = new AbortController().signal;
const dialects = [stash, dispatcharr, sillytavern];
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
  readonly homes = new Homes(remover);
  readonly #catalogues = new Map<string, Catalogues>();

  private constructor(dataDir: string) {
    this.dataDir = dataDir;
    this.cache = new UnpackCache({ dir: join(dataDir, 'cache'), unpacker, stranger, bytes: 0 });
    this.installer = new Installer({
      store,
      cache: this.cache,
      reader,
      dialects,
      remover,
      tenantBytes: TENANT_BYTES,
      catalogue: async (id) => this.of(id).current,
      refresh: async (id) => void (await this.of(id).reload()),
      clear: async (id, plugin) => void (await this.homes.remove(this.dirOf(id), plugin)),
    });
  }

  static async start(): Promise<Node> {
    return new Node(await mkdtemp(join(root, 'node-')));
  }

  dirOf(id: string): string {
    return join(this.dataDir, 'tenants', id);
  }

  /** As much of it as removing a plugin asks for. */
  tenancy(id: string): Tenancy {
    return { id, dir: this.dirOf(id), catalogue: this.of(id).current } as unknown as Tenancy;
  }

  of(id: string): Catalogues {
    const known = this.#catalogues.get(id);
    if (known !== undefined) return known;
    const dir = this.dirOf(id);
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

describe('an archive that is one folder', () => {
  const install = (node: Node, files: Record<string, string>, options: InstallOptions = {}) =>
    node.installer.install(tenant, zipOf(files), never, options);
  const rejection = async (installing: Promise<unknown>) => {
    const failure = Failure.from(await installing.then(() => undefined).catch((error) => error));
    return [failure.code, failure.details.rejection ?? failure.message];
  };

  test('is a plugin called like the folder with its code, and stays what it is while its archive is the same', async () => {
    const node = await Node.start();
    const files = {
      'repo/README.md': '',
      'repo/.github/workflows/ci.yml': 'on: push',
      'repo/__init__.py': '',
      'repo/My-Plugin v2/plugin.py': 'code',
      'repo/My-Plugin v2/plugin.json': '{"name":"Mine","actions":[{"id":"go","label":"Go"}]}',
      'repo/My-Plugin v2/plugin.permissions.yaml': 'network: [example.org]',
      'repo/Logo.PNG': 'png',
    };
    const { plugins, changed } = await install(node, files);
    expect([plugins.map(({ id, dialect, name }) => [id, dialect, name]), changed]).toEqual([
      [['my_plugin_v2', 'dispatcharr', 'Mine']],
      true,
    ]);
    expect(await store.of(tenant).packages.list()).toMatchObject([
      { plugin: 'my_plugin_v2', dialect: 'dispatcharr', manifest: 'repo/My-Plugin v2/plugin.json' },
    ]);
    const elsewhere = await Node.start();
    for (const one of [node, elsewhere]) {
      const { plugins, packages, refused } = await one.of(tenant).reload();
      const plugin = plugins.get('my_plugin_v2');
      assert(plugin !== undefined);
      expect([plugin.portrait?.actions, plugin.folder, plugin.asks?.network, packages.size, refused]).toEqual([
        [{ id: 'go', label: 'Go' }],
        'my_plugin_v2',
        ['example.org'],
        1,
        [],
      ]);
      expect(await readFile(join(plugin.realDir, 'plugin.py'), 'utf8')).toBe('code');
      expect(await readFile(plugin.logo ?? '', 'utf8')).toBe('png');
      expect((await one.of(tenant).reload()).plugins.get('my_plugin_v2')).toBe(plugin);
      const { code } = await one.homes.open(one.dirOf(tenant), plugin);
      expect([basename(code), (await readdir(code)).sort()]).toEqual([
        'my_plugin_v2',
        ['plugin.json', 'plugin.permissions.yaml', 'plugin.py'],
      ]);
    }
    const before = node.of(tenant).current.plugins.get('my_plugin_v2');
    await install(node, { 'my_plugin_v2/plugin.py': 'other' });
    const after = node.of(tenant).current.plugins.get('my_plugin_v2');
    expect([after === before, after?.stamp === before?.stamp, after?.portrait, after?.logo]).toEqual([
      false,
      false,
      null,
      null,
    ]);
  });

  test('has the name of the archive where its code is at the top', async () => {
    const node = await Node.start();
    expect(await rejection(install(node, { 'plugin.py': '' }))).toEqual([
      'package_rejected',
      expect.stringMatching('Content-Disposition'),
    ]);
    const { plugins } = await install(
      node,
      { 'plugin.py': '', 'sub/plugin.py': '' },
      { name: 'My-Golden Plugin.v1.zip' },
    );
    expect(plugins.map(({ id }) => id)).toEqual(['my_golden_plugin_v1']);
    const plugin = node.of(tenant).current.plugins.get('my_golden_plugin_v1');
    expect(await readdir(plugin?.realDir ?? '')).toEqual(['plugin.py', 'sub']);
  });

  test('is none where it is a plugin of another format, unless it is asked for as one', async () => {
    const node = await Node.start();
    const both = { ...external('both'), 'both/plugin.py': '' };
    const asked = await install(node, both, { dialect: 'dispatcharr' });
    expect(asked.plugins.map(({ dialect }) => dialect)).toEqual(['dispatcharr']);
    // Another program under its name would have all that it was allowed.
    expect(await rejection(install(node, both))).toEqual(['conflict', expect.stringMatching('of another format')]);
    await node.installer.remove(tenant, 'both', 'forget');
    expect((await install(node, both)).plugins.map(({ dialect }) => dialect)).toEqual(['stash']);
    // A Stash plugin with a mistake in its manifest is not taken for something else.
    const mistaken = { 'x/x.yml': 'nmae: x', 'x/plugin.py': '' };
    expect(await rejection(install(node, mistaken))).toEqual(['manifest_rejected', expect.stringMatching('nmae')]);
  });

  test('replaces another only where it may', async () => {
    const node = await Node.start();
    const files = { 'mine/plugin.py': '' };
    await install(node, files, { overwrite: false });
    const again = [files, { 'mine/plugin.py': 'two' }].map((one) => install(node, one, { overwrite: false }));
    for (const one of again) expect(await rejection(one)).toEqual(['conflict', 'There is a plugin "mine" already']);
    await assert.rejects(install(node, files, { overwrite: false }), {
      details: { where: [{ at: 'mine', problem: 'is there already' }] },
    });
    expect((await install(node, { 'mine/plugin.py': 'two' })).replaced).toEqual(['mine']);
  });

  test('that is not taken says what is wrong with it', async () => {
    const node = await Node.start();
    const problems: [Buffer, string][] = [
      [Buffer.from('no zip'), 'zip'],
      [zipOf({}), 'empty'],
      [zipOf(Object.fromEntries(Array.from({ length: 10_001 }, (_, at) => [`${at}`, '']))), 'files'],
      [zip([{ name: 'a', content: 'x', bytes: 2 ** 27 }]), 'file bytes'],
      [zip(['a', 'b', 'c'].map((name) => ({ name, data: Buffer.alloc(2 ** 19), method: 8, bytes: 9e7 }))), 'bytes'],
      [zipOf({ '../plugin.py': '' }), 'path'],
      [zip([{ name: 'a/plugin.py', mode: 0o120777, content: '/etc/passwd' }]), 'path'],
      [zipOf({ 'a/b.py': '' }), 'no plugin'],
    ];
    for (const [archive, kind] of problems) {
      expect(await rejection(node.installer.install(tenant, archive, never))).toEqual(['package_rejected', kind]);
    }
    const single = node.installer.install(tenant, zipOf({ 'clock.mjs': '' }), never);
    await expect(single).rejects.toThrow(
      /with index\.js, index\.cjs or index\.mjs, or with a package\.json that has a main\. A single file like clock\.mjs is one only in the folder sillytavern .*: in an archive, call it index\.mjs$/,
    );
    expect(await store.of(tenant).packages.list()).toEqual([]);
  });
});

describe('an archive with a server plugin', () => {
  const index = 'module.exports = {}';
  const told = async (node: Node, files: Record<string, string>, name?: string) => {
    const { plugins } = await node.installer.install(tenant, zipOf(files), never, { name });
    return plugins.map(({ id, dialect, folder }) => [id, dialect, folder]);
  };

  test('is called like its repository, with all that it has brought along', async () => {
    const node = await Node.start();
    const files = {
      'SillyTavern-Own-main/package.json': '{"name":"own","version":"1.0.0","main":"src/plugin.js"}',
      'SillyTavern-Own-main/package.permissions.yaml': 'network: [example.org]',
      'SillyTavern-Own-main/src/plugin.js': index,
      'SillyTavern-Own-main/.github/workflows/ci.yml': 'on: push',
      'SillyTavern-Own-main/node_modules/gyp/__init__.py': '',
      'SillyTavern-Own-main/node_modules/gyp/gyp.yml': 'language: c',
      ...Object.fromEntries(
        Array.from({ length: 100 }, (_, at) => [`SillyTavern-Own-main/node_modules/m/.github/${at}.yml`, 'github: x']),
      ),
    };
    expect(await told(node, files)).toEqual([['sillytavern-own', 'sillytavern', 'SillyTavern-Own']]);
    const elsewhere = await Node.start();
    for (const one of [node, elsewhere]) {
      const { plugins, refused } = await one.of(tenant).reload();
      const plugin = plugins.get('sillytavern-own');
      assert(plugin !== undefined);
      expect([plugin.version, plugin.asks?.network, refused]).toEqual(['1.0.0', ['example.org'], []]);
      expect((await one.of(tenant).reload()).plugins.get('sillytavern-own')).toBe(plugin);
      const { code } = await one.homes.open(one.dirOf(tenant), plugin);
      expect([basename(code), await readFile(join(code, 'src/plugin.js'), 'utf8')]).toEqual(['SillyTavern-Own', index]);
      expect(await readdir(join(code, 'node_modules'))).toEqual(['gyp', 'm']);
    }
    // Another version of it takes its place.
    expect(
      await told(node, { 'SillyTavern-Own-release/index.mjs': '', 'SillyTavern-Own-release/.github/ci.yml': 'on: x' }),
    ).toEqual([['sillytavern-own', 'sillytavern', 'SillyTavern-Own']]);
    expect([...node.of(tenant).current.plugins.keys()]).toEqual(['sillytavern-own']);
    await node.installer.remove(tenant, 'sillytavern-own', 'forget');
    expect(await told(node, { 'index.js': '' }, 'Own Server-1.2.0.zip')).toEqual([
      ['own-server', 'sillytavern', 'own-server'],
    ]);
  });

  test('is one of another format where it was that before, and is refused with nothing left where it is none', async () => {
    const node = await Node.start();
    const script = { 'x/index.js': '', 'x/package.json': '{"main":"index.js"}' };
    expect(await told(node, { ...script, ...embedded('both') })).toEqual([['both', 'stash', undefined]]);
    expect(await told(node, { ...script, 'x/deep/er/__init__.py': '' })).toEqual([['er', 'dispatcharr', 'er']]);
    const problems: [Record<string, string>, string][] = [
      [{ ...script, 'x/x.yml': 'nmae: x' }, 'manifest_rejected'],
      [{ 'x/package.json': '{"name":"x"}', 'x/lib.js': '' }, 'package_rejected'],
      [{ 'x/node_modules/y/index.js': '' }, 'package_rejected'],
      [{ 'one.js': '' }, 'package_rejected'],
      [{ 'plugins/index.js': '' }, 'manifest_rejected'],
      [{ '日本/index.js': '' }, 'manifest_rejected'],
    ];
    for (const [files, code] of problems) {
      await assert.rejects(node.installer.install(tenant, zipOf(files), never), { code });
    }
    expect((await store.of(tenant).packages.list()).map(({ plugin }) => plugin)).toEqual(['both', 'er']);
  });
});

describe('a plugin that is discarded', () => {
  test('is gone with its package, what was set for it and what it has kept', async () => {
    const node = await Node.start();
    await node.installer.install(tenant, zipOf({ 'mine/plugin.py': '' }), never);
    const { pluginStates } = store.of(tenant);
    await pluginStates.replace('mine', { a: 1 });
    await pluginStates.replace('remembered', { a: 1 });
    const plugin = node.of(tenant).current.plugins.get('mine');
    assert(plugin !== undefined);
    const { data } = await node.homes.open(node.dirOf(tenant), plugin);
    expect(await node.installer.discard(node.tenancy(tenant), 'mine')).toBe(true);
    expect([[...node.of(tenant).current.plugins], await store.of(tenant).packages.list()]).toEqual([[], []]);
    expect((await pluginStates.get('mine')).settings).toEqual({});
    await assert.rejects(readdir(data), { code: 'ENOENT' });
    expect(await node.installer.discard(node.tenancy(tenant), 'remembered')).toBe(false);
    expect((await pluginStates.all()).size).toBe(0);
  });

  test('is gone with its folder, whatever that is called; of a link, only the link is', async () => {
    const node = await Node.start();
    const folder = join(node.dirOf(tenant), 'plugins/dispatcharr');
    for (const name of ['Legacy Dir', 'other']) {
      await mkdir(join(folder, name), { recursive: true });
      await writeFile(join(folder, name, 'plugin.py'), '');
    }
    await symlink('other', join(folder, 'link'));
    await mkdir(join(folder, '../stash'));
    await writeFile(join(folder, '../stash/plain.yml'), '{}');
    await node.of(tenant).reload();
    expect(await node.installer.discard(node.tenancy(tenant), 'legacy_dir')).toBe(true);
    expect([...node.of(tenant).current.plugins.keys()]).toEqual(['plain', 'link', 'other']);
    expect(await node.installer.discard(node.tenancy(tenant), 'link')).toBe(true);
    expect([...node.of(tenant).current.plugins.keys()]).toEqual(['plain', 'other']);
    await vi.waitFor(async () => expect(await readdir(folder)).toEqual(['other']));
    expect(await readdir(join(folder, 'other'))).toEqual(['plugin.py']);
    await assert.rejects(node.installer.discard(node.tenancy(tenant), 'plain'), { code: 'conflict' });
    expect(await node.installer.discard(node.tenancy(tenant), '../stash')).toBe(false);
    expect(await readdir(join(folder, '..'))).toEqual(['dispatcharr', 'stash']);
  });

  test('is gone with its file, where it is one among others', async () => {
    const node = await Node.start();
    const folder = join(node.dirOf(tenant), 'plugins/sillytavern');
    await mkdir(folder, { recursive: true });
    for (const name of ['one.js', 'two.mjs']) await writeFile(join(folder, name), '');
    await node.of(tenant).reload();
    expect(await node.installer.discard(node.tenancy(tenant), 'one')).toBe(true);
    await vi.waitFor(async () => expect(await readdir(folder)).toEqual(['two.mjs']));
    expect([...node.of(tenant).current.plugins.keys()]).toEqual(['two']);
  });
});
