import { execFileSync } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { discoverFolders, logoOf, pluginFolderOf } from '../../src/packages/plugin-folders.ts';
import { temporaryFolder } from '../support/folder.ts';

const NAMES = { code: ['plugin.py', '__init__.py'], manifest: 'plugin.json' };

async function write(root: string, files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
}

async function found(pluginsDir: string, limits = {}): Promise<string[]> {
  const all = await discoverFolders({ pluginsDir, folder: 'dispatcharr', ...NAMES, limits });
  return all.map((one) =>
    one.ok
      ? `${one.file} ${Buffer.from(one.bytes)} ${one.permissions ?? ''}`.trim()
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
    'dispatcharr/large',
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

test('of an archive it is the folder with the best file, then the one closest to the top, then the first', () => {
  const chosen = (...paths: string[]) =>
    pluginFolderOf(
      paths.map((path) => ({ path })),
      NAMES,
    );
  expect(chosen('top/__init__.py', 'top/sub/plugin.py')).toBe('top/sub');
  expect(chosen('z/plugin.py', 'a/b/plugin.py', 'y/plugin.py')).toBe('y');
  expect(chosen('a/plugin.py', 'plugin.py')).toBe('.');
  expect(chosen('b/__init__.py', 'B/__init__.py')).toBe('B');
  expect(chosen('a/Plugin.py', 'a/my_plugin.py', 'a/plugin.pyc')).toBe(undefined);
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
