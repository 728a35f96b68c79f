import { execFileSync } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { discoverFolders, type FolderNames, logoOf, pluginFolderOf } from '../../src/packages/plugin-folders.ts';
import { temporaryFolder } from '../support/folder.ts';

const NAMES = { code: ['plugin.py', '__init__.py'], manifest: 'plugin.json', inArchive: 'best' as const };
const BOTH = {
  code: ['index.js', 'index.mjs'],
  manifest: 'package.json',
  namesCode: (manifest: Uint8Array) => Buffer.from(manifest).includes('main'),
  files: ['.js', '.mjs'],
  inArchive: 'nearest' as const,
};

async function write(root: string, files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
}

async function found(pluginsDir: string, limits = {}, form: FolderNames = NAMES): Promise<string[]> {
  const all = await discoverFolders({ pluginsDir, folder: 'dispatcharr', ...form, limits });
  return all.map((one) =>
    one.ok
      ? `${one.file} ${Buffer.from(one.bytes)}${one.unread ?? ''} ${Buffer.from(one.permissions ?? '')}`.trim()
      : `${one.refusal.file}: ${one.refusal.reason}`,
  );
}

test('each folder with code is a plugin, in the order of their bytes; nothing else is', async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, {
    'dispatcharr/b/plugin.py': '',
    'dispatcharr/b/plugin.json': '{"name":"B"}',
    'dispatcharr/B/__init__.py': '',
    'dispatcharr/ä/plugin.py': '',
    'dispatcharr/a/plugin.py': '',
    'dispatcharr/a/inner/plugin.py': '',
    'dispatcharr/no code/plugin.json': '{}',
    'dispatcharr/.hidden/plugin.py': '',
    'dispatcharr/file.py': '',
    'dispatcharr/x/plugin.py/not.a.file': '',
  });
  expect(await found(folder.path)).toEqual([
    'dispatcharr/B',
    'dispatcharr/a',
    'dispatcharr/b {"name":"B"}',
    'dispatcharr/ä',
  ]);
  expect(await discoverFolders({ pluginsDir: folder.path, folder: 'absent', ...NAMES })).toEqual([]);
  for (const [only, isPlugin] of Object.entries({ '.hidden': true, a: true, 'no code': false, absent: false })) {
    const one = await discoverFolders({ pluginsDir: join(folder.path, 'dispatcharr'), folder: '.', only, ...NAMES });
    expect(one.map((each) => each.ok && each.file)).toEqual(isPlugin ? [only] : []);
  }
});

test('a manifest that cannot be read is none, and neither a FIFO nor a link out of its folder is opened', async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, {
    'secret.json': '{"name":"secret"}',
    'secret.py': '',
    'dispatcharr/large/plugin.py': '',
    'dispatcharr/large/plugin.json': ' '.repeat(300_000),
    'dispatcharr/fifo/plugin.py': '',
    'dispatcharr/out/plugin.py': '',
    'dispatcharr/in/main.py': '',
    'dispatcharr/in/the.json': '{}',
    'dispatcharr/code/x': '',
  });
  const at = (name: string) => join(folder.path, 'dispatcharr', name);
  execFileSync('mkfifo', [at('fifo/plugin.json'), at('fifo/plugin.permissions.yaml')]);
  await symlink('../../secret.json', at('out/plugin.json'));
  await symlink('the.json', at('in/plugin.json'));
  await symlink('main.py', at('in/plugin.py'));
  await symlink('../../secret.py', at('code/plugin.py'));
  expect(await found(folder.path)).toEqual([
    'dispatcharr/fifo  it is not a regular file',
    'dispatcharr/in {}',
    'dispatcharr/large a manifest may be 262144 bytes long at most, and this one is longer',
    'dispatcharr/out',
  ]);
});

test('a link to a folder is followed inside, and refused by name where it leads elsewhere', async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, {
    'elsewhere/plugin.py': '',
    'dispatcharr/a/plugin.py': '',
    'dispatcharr/a/sub/plugin.py': '',
  });
  for (const [name, target] of Object.entries({ sub: 'a/sub', out: '../elsewhere', gone: 'nothing', self: '.' })) {
    await symlink(target, join(folder.path, 'dispatcharr', name));
  }
  expect(await found(folder.path)).toEqual([
    'dispatcharr/a',
    'dispatcharr/gone: cannot be opened (ENOENT)',
    'dispatcharr/out: the link leads out of the plugins folder and is not followed',
    'dispatcharr/self: the link leads out of the plugins folder and is not followed',
    'dispatcharr/sub',
  ]);
});

test('what is too much is refused by name', async () => {
  await using folder = await temporaryFolder();
  const manifest = JSON.stringify({ name: 'x'.repeat(100) });
  await write(
    folder.path,
    Object.fromEntries(
      ['a', 'b', 'c'].flatMap((name) => [
        [`dispatcharr/${name}/plugin.py`, ''],
        [`dispatcharr/${name}/plugin.json`, manifest],
      ]),
    ),
  );
  expect(await found(folder.path, { totalBytes: 150 })).toEqual([
    `dispatcharr/a ${manifest}`,
    'dispatcharr/b: all manifests together may have 150 bytes; nothing from here on is loaded',
  ]);
  expect(await found(folder.path, { entriesPerFolder: 2 })).toEqual([
    'dispatcharr: a folder may hold 2 files; nothing in this one is loaded',
  ]);
});

test('a single file is a plugin where its format has such, and a folder is where its manifest names its code', async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, {
    'secret.js': '',
    'dispatcharr/one.js': '',
    'dispatcharr/one.permissions.yaml': 'network: []',
    'dispatcharr/two.MJS': '',
    'dispatcharr/three.mjs': '',
    'dispatcharr/.four.js': '',
    'dispatcharr/package.json': '{"main":"x"}',
    'dispatcharr/code/any.js': '',
    'dispatcharr/code/package.json': '{"main":"any.js"}',
    'dispatcharr/code/package.permissions.yaml': 'files: []',
    'dispatcharr/no code/package.json': '{}',
    'dispatcharr/node_modules/express/index.js': '',
  });
  const at = (name: string) => join(folder.path, 'dispatcharr', name);
  execFileSync('mkfifo', [at('fifo.js')]);
  await symlink('../secret.js', at('out.js'));
  await symlink('code/any.js', at('within.js'));
  expect(await found(folder.path, {}, BOTH)).toEqual([
    'dispatcharr/code {"main":"any.js"} files: []',
    'dispatcharr/one.js  network: []',
    'dispatcharr/out.js: the link leads out of the plugins folder and is not followed',
    'dispatcharr/three.mjs',
    'dispatcharr/within.js',
  ]);
  const all = await discoverFolders({ pluginsDir: folder.path, folder: 'dispatcharr', ...BOTH });
  expect(all.flatMap((one) => (one.ok ? [[one.path, one.realDir]] : []))[1]).toEqual([at('one.js'), at('')]);
});

test('of an archive it is the folder with the best file, then the one closest to the top, then the first', async () => {
  const chosen = (...paths: string[]) =>
    pluginFolderOf(
      paths.map((path) => ({ path })),
      NAMES,
    );
  expect(await chosen('top/__init__.py', 'top/sub/plugin.py')).toBe('top/sub');
  expect(await chosen('z/plugin.py', 'a/b/plugin.py', 'y/plugin.py')).toBe('y');
  expect(await chosen('a/plugin.py', 'plugin.py')).toBe('.');
  expect(await chosen('b/__init__.py', 'B/__init__.py')).toBe('B');
  expect(await chosen('a/Plugin.py', 'a/my_plugin.py', 'a/plugin.pyc')).toBe(undefined);
});

test('or it is the one closest to the top, whose manifest may have to name its code; never one that was brought along', async () => {
  const asked: string[] = [];
  const chosen = (...paths: string[]) =>
    pluginFolderOf(
      paths.map((path) => ({ path })),
      BOTH,
      async (path) => {
        asked.push(path);
        return Buffer.from(path.startsWith('main') ? 'main' : '');
      },
    );
  expect(await chosen('top/sub/index.js', 'top/index.mjs', 'top/lib/package.json')).toBe('top');
  expect(await chosen('main/package.json', 'main/dist/index.js')).toBe('main');
  expect(await chosen('other/package.json', 'other/server/index.js')).toBe('other/server');
  expect(await chosen('a/node_modules/x/index.js', 'a/node_modules/package.json')).toBe(undefined);
  asked.length = 0;
  const many = Array.from({ length: 100 }, (_, at) => `${at}/package.json`);
  expect(await chosen(...many, 'deep/er/index.js')).toBe('deep/er');
  expect(asked).toHaveLength(20);
});

test('its picture is best from its own folder, and may be called in any case', () => {
  const logo = (...paths: string[]) =>
    logoOf(
      paths.map((path) => ({ path })),
      'top/a',
    );
  expect(logo('logo.png', 'top/a/Logo.PNG')).toBe('top/a/Logo.PNG');
  expect(logo('logo.png', 'top/a/img/logo.png')).toBe('top/a/img/logo.png');
  expect(logo('x/LOGO.png')).toBe('x/LOGO.png');
  expect(logo('logo.jpg')).toBe(null);
});
