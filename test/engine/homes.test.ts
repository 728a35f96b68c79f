// Goal: a resident's copy is as it left it until its plugin changes, and nothing that it puts there is ever followed.
// Method: folders on the disk, with a hostile program played by the test.
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import { Homes } from '../../src/engine/homes.ts';
import { load } from '../../src/manifests/dispatcharr.ts';
import { load as loadServer } from '../../src/manifests/sillytavern.ts';
import { passingSince } from '../../src/packages/folders.ts';
import { Remover } from '../../src/packages/remover.ts';
import { temporaryFolder } from '../support/folder.ts';

let scope: AsyncDisposableStack;
let root: string;
let tenant: string;
let remover: Remover;
let homes: Homes;
beforeEach(async () => {
  scope = new AsyncDisposableStack();
  root = scope.use(await temporaryFolder()).path;
  remover = scope.use(new Remover());
  homes = new Homes(remover);
  tenant = join(root, 'tenant');
  await mkdir(tenant);
});
afterEach(() => scope.disposeAsync());

async function write(files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
}

function pluginAt(folder: string, more: Partial<Plugin> = {}): Plugin {
  const path = join(root, 'plugins', folder, 'plugin.json');
  const verdict = load({ file: folder, path, bytes: new Uint8Array() });
  assert(verdict.ok);
  return { ...verdict.plugin, ...more };
}

/** What is left when all that is on its way out is gone. */
async function left(folder: string): Promise<string[]> {
  await vi.waitFor(async () => expect((await readdir(folder)).filter((one) => passingSince(one) !== null)).toEqual([]));
  return (await readdir(folder)).sort();
}

test('a copy is kept with what was written into it, and made anew when the plugin is another; data lasts', async () => {
  await write({ 'plugins/My Plugin/plugin.py': 'one', 'plugins/My Plugin/lib/x.py': 'x' });
  await chmod(join(root, 'plugins/My Plugin/lib/x.py'), 0o555);
  await utimes(join(root, 'plugins/My Plugin/plugin.py'), 1, 1);
  const plugin = pluginAt('My Plugin');
  const { code, data } = await homes.open(tenant, plugin);
  expect(code.startsWith(join(tenant, 'residents', 'my_plugin-'))).toBe(true);
  expect(code.endsWith('/code/My Plugin')).toBe(true);
  expect([await readFile(join(code, 'plugin.py'), 'utf8'), (await stat(join(code, 'lib/x.py'))).mode & 0o777]).toEqual([
    'one',
    0o755,
  ]);
  await writeFile(join(code, 'state.json'), '{}');
  await writeFile(join(code, 'plugin.py'), 'patched');
  await writeFile(join(data, 'kept'), '');

  // Another process, later.
  const again = await new Homes(remover).open(tenant, plugin);
  expect(again).toEqual({ code, data });
  expect((await readdir(code)).sort()).toEqual(['lib', 'plugin.py', 'state.json']);

  await writeFile(join(root, 'plugins/My Plugin/plugin.py'), 'two');
  await homes.open(tenant, plugin);
  expect(await readFile(join(code, 'plugin.py'), 'utf8')).toBe('two');
  expect((await readdir(code)).sort()).toEqual(['lib', 'plugin.py']);
  expect(await readdir(data)).toEqual(['kept']);
  expect(await left(dirname(data))).toEqual(['code', 'data', 'stamp']);
});

test('what is known of the state of the plugin counts, and its folder is called as it says', async () => {
  await write({ 'plugins/repo-main/plugin.py': 'one' });
  const plugin = pluginAt('repo-main', { id: 'repo_main', folder: 'repo_main', stamp: 'a' });
  const { code } = await homes.open(tenant, plugin);
  expect(code.endsWith('/code/repo_main')).toBe(true);
  await write({ 'plugins/repo-main/plugin.py': 'other bytes in a cache that was filled again' });
  await homes.open(tenant, plugin);
  expect(await readFile(join(code, 'plugin.py'), 'utf8')).toBe('one');
  await homes.open(tenant, { ...plugin, stamp: 'b' });
  expect(await readFile(join(code, 'plugin.py'), 'utf8')).toMatch('other');
  const moved = await homes.open(tenant, { ...plugin, stamp: 'b', folder: 'elsewhere' });
  expect(await readdir(dirname(moved.code))).toEqual(['elsewhere']);
});

test('only files and links that stay inside are copied', async () => {
  await write({
    secret: 'secret',
    'plugins/a/plugin.py': '',
    'plugins/a/lib/x.py': 'x',
    'plugins/a/__pycache__/x.pyc': '',
  });
  const at = (name: string) => join(root, 'plugins/a', name);
  execFileSync('mkfifo', [at('fifo')]);
  const links = {
    up: '../../secret',
    whole: join(root, 'secret'),
    gone: 'nowhere',
    inside: 'lib',
    round: '../a/lib/x.py',
  };
  for (const [name, target] of Object.entries(links)) await symlink(target, at(name));
  await symlink(at('lib/x.py'), at('lib/absolute'));
  await symlink('../inside/x.py', at('lib/twice'));
  const { code } = await homes.open(tenant, pluginAt('a'));
  expect((await readdir(code)).sort()).toEqual(['inside', 'lib', 'plugin.py', 'round']);
  const targets = ['inside', 'round', 'lib/absolute', 'lib/twice'].map((name) => readlink(join(code, name)));
  expect(await Promise.all(targets)).toEqual(['lib', 'lib/x.py', 'x.py', 'x.py']);
});

test('of a plugin that is one file among others, the copy has that file alone', async () => {
  await write({ 'plugins/one.js': 'one', 'plugins/two.js': 'two', 'plugins/lib/x.mjs': 'x', secret: 'secret' });
  const single = (file: string): Plugin => {
    const realDir = join(root, 'plugins');
    const verdict = loadServer({ file, path: join(realDir, file), realDir, bytes: new Uint8Array() });
    assert(verdict.ok);
    return verdict.plugin;
  };
  const { code, data } = await homes.open(tenant, single('one.js'));
  expect(code.endsWith('/code/plugins')).toBe(true);
  expect((await readdir(code)).sort()).toEqual(['one.js', 'package.json']);
  expect(JSON.parse(await readFile(join(code, 'package.json'), 'utf8'))).toEqual({ type: 'commonjs' });
  await writeFile(join(code, 'state'), '');
  await write({ 'plugins/two.js': 'another' });
  await homes.open(tenant, single('one.js'));
  expect((await readdir(code)).sort()).toEqual(['one.js', 'package.json', 'state']);
  await write({ 'plugins/one.js': 'changed' });
  expect(await homes.open(tenant, single('one.js'))).toEqual({ code, data });
  expect(await readFile(join(code, 'one.js'), 'utf8')).toBe('changed');
  expect((await readdir(code)).sort()).toEqual(['one.js', 'package.json']);
  // The same id, in another form.
  await homes.open(tenant, { ...single('one.js'), program: { runtime: 'node', file: 'two.js' } });
  expect((await readdir(code)).sort()).toEqual(['package.json', 'two.js']);

  await symlink('lib/x.mjs', join(root, 'plugins/within.mjs'));
  await symlink('../secret', join(root, 'plugins/out.js'));
  const linked = await homes.open(tenant, single('within.mjs'));
  expect((await lstat(join(linked.code, 'within.mjs'))).isFile()).toBe(true);
  expect(await readFile(join(linked.code, 'within.mjs'), 'utf8')).toBe('x');
  await expect(homes.open(tenant, single('out.js'))).rejects.toMatchObject({ code: 'plugin_boot_failed' });
  await expect(homes.open(tenant, single('gone.js'))).rejects.toMatchObject({
    message: expect.stringMatching('ENOENT'),
  });
});

test('two opens at once share one copying, and a removal waits for them', async () => {
  await write({ 'plugins/a/plugin.py': '' });
  const plugin = pluginAt('a');
  const [one, two] = await Promise.all([homes.open(tenant, plugin), homes.open(tenant, plugin)]);
  expect(one).toEqual(two);
  await writeFile(join(one.code, 'state'), '');
  const [three] = await Promise.all([homes.open(tenant, plugin), homes.remove(tenant, 'a')]);
  expect(three).toEqual(one);
  expect(await left(join(tenant, 'residents'))).toEqual([]);
  await homes.remove(tenant, 'a');
  expect(await readdir((await homes.open(tenant, plugin)).code)).toEqual(['plugin.py']);
});

test('links in the place of what we would write to or remove are neither followed nor kept', async () => {
  await write({ 'plugins/a/plugin.py': 'one', 'outside/kept': 'kept' });
  const plugin = pluginAt('a', { stamp: '1' });
  const { code, data } = await homes.open(tenant, plugin);
  const outside = join(root, 'outside');
  await symlink(outside, join(code, 'link'));
  for (const path of [code, data]) {
    await rm(path, { recursive: true });
    await symlink(outside, path);
  }
  expect(await homes.open(tenant, plugin)).toEqual({ code, data });
  for (const path of [code, data]) expect((await lstat(path)).isDirectory()).toBe(true);
  await rm(join(dirname(data), 'code'), { recursive: true });
  await symlink(outside, join(dirname(data), 'code'));
  await homes.open(tenant, { ...plugin, stamp: '2' });
  expect(await readFile(join(code, 'plugin.py'), 'utf8')).toBe('one');
  await symlink(outside, join(code, 'link'));
  await homes.remove(tenant, 'a');
  expect(await left(join(tenant, 'residents'))).toEqual([]);
  expect(await readdir(outside)).toEqual(['kept']);
});

test('ids that look alike have homes of their own, below their tenant', async () => {
  await write({ 'plugins/a/plugin.py': '' });
  const ids = ['a', 'A', 'a b', 'a_b', '..', '../../x', 'a/b', 'ä', 'ö', 'x'.repeat(200)];
  const folders = new Set<string>();
  for (const id of ids) folders.add(dirname((await homes.open(tenant, pluginAt('a', { id }))).data));
  expect(folders.size).toBe(ids.length);
  for (const folder of folders) expect(dirname(folder)).toBe(join(tenant, 'residents'));
});

test('folders that cannot be got at are said to be the trouble, and not blamed on the service', async () => {
  await write({ 'plugins/a/plugin.py': '', 'tenant/residents': 'no folder' });
  const opening = homes.open(join(root, 'tenant'), pluginAt('a'));
  await expect(opening).rejects.toMatchObject({
    code: 'plugin_boot_failed',
    message: expect.stringMatching(/^The plugin's data folder.*\((ENOTDIR|EEXIST)\)/),
  });
});

test('what cannot be copied is told, and leaves nothing half done', async () => {
  const codeOf = (opening: Promise<unknown>) =>
    opening.then(
      () => 'ok',
      (error) => {
        assert(error instanceof Failure);
        return `${error.code}: ${error.message}`;
      },
    );
  await write({ 'plugins/a/plugin.py': 'x'.repeat(100), 'plugins/a/b/c': '' });
  const plugin = pluginAt('a');
  const small = (limits: object) => codeOf(new Homes(remover, limits).open(tenant, plugin));
  expect(await small({ entries: 2 })).toBe("plugin_boot_failed: The plugin's folder has more than 2 files");
  expect(await small({ bytes: 99 })).toBe("plugin_boot_failed: The plugin's folder has more than 99 bytes");
  expect(await small({ depth: 0 })).toMatch('more than 0 folders inside of each other');
  expect(await codeOf(homes.open(tenant, pluginAt('gone')))).toMatch(/^plugin_boot_failed: .*\(ENOENT\)/);
  const [home = ''] = (await readdir(join(tenant, 'residents'))).filter((one) => one.startsWith('a-'));
  expect(await left(join(tenant, 'residents', home))).toEqual([]);
  expect(await small({ entries: 3, bytes: 100, depth: 1 })).toBe('ok');
});
