// Goal: whatever lies in a plugin's folder, and however it changes while we look, only files of that folder are read.
// Method: real files, links and FIFOs; a process that swaps a folder for a link without pause while we open what is in it.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compared, PluginFile } from '../../src/engine/plugin-file.ts';
import { temporaryFolder } from '../support/folder.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let plugin: string;
beforeAll(async () => {
  folder = await temporaryFolder();
  plugin = join(folder.path, 'plugin');
  for (const dir of ['plugin/inner', 'plugin-evil', 'secret']) await mkdir(join(folder.path, dir), { recursive: true });
  for (const [path, content] of [
    ['plugin/a.txt', 'a'],
    ['plugin/inner/b.txt', 'b'],
    ['plugin-evil/c.txt', 'SECRET'],
    ['secret/b.txt', 'SECRET'],
  ] as const) {
    await writeFile(join(folder.path, path), content);
  }
  const links = {
    'to-inside': 'inner/b.txt',
    'folder-inside': 'inner',
    'to-outside': '../secret/b.txt',
    'folder-outside': '../secret',
    'to-itself': 'to-itself',
    'to-nothing': 'nothing',
    'to-neighbour': join(folder.path, 'plugin-evil/c.txt'),
    'to-environment': '/proc/self/environ',
    'to-device': '/dev/zero',
    'to-fifo': 'fifo',
  };
  for (const [name, target] of Object.entries(links)) await symlink(target, join(plugin, name));
  execFileSync('mkfifo', [join(plugin, 'fifo')]);
});
afterAll(() => folder[Symbol.asyncDispose]());

const CASES: [path: string, expected: string][] = [
  ['a.txt', 'content: a'],
  ['inner/../a.txt', 'content: a'],
  ['to-inside', 'content: b'],
  ['folder-inside/b.txt', 'content: b'],
  ['nothing', 'absent'],
  ['a.txt/b', 'absent'],
  ['to-nothing', 'absent'],
  ['to-itself', 'absent'],
  ['a\0.txt', 'absent'],
  ['x'.repeat(5_000), 'absent'],
  ['../secret/b.txt', 'outside'],
  ['../plugin-evil/c.txt', 'outside'],
  ['to-outside', 'outside'],
  ['folder-outside/b.txt', 'outside'],
  ['to-neighbour', 'outside'],
  ['to-environment', 'outside'],
  ['to-device', 'outside'],
  ['.', 'outside'],
  ['inner', 'no file'],
  ['folder-inside', 'no file'],
  ['fifo', 'no file'],
  ['to-fifo', 'no file'],
];

test.each(CASES)('%s is: %s', async (path, expected) => {
  const file = await PluginFile.open(plugin, `${plugin}/${path}`);
  if (typeof file === 'string') return expect(file).toBe(expected);
  await using it = file;
  expect(`content: ${await text(it.read(0, it.bytes))}`).toBe(expected);
});

test.each(CASES)('where the kernel does not say where it is, %s is the same: %s', async (path, expected) => {
  const taken = await compared(plugin, `${plugin}/${path}`).catch(() => 'absent');
  if (typeof taken === 'string') return expect(taken).toBe(expected);
  await using handle = (taken as Exclude<Awaited<ReturnType<typeof compared>>, string>).handle;
  expect(`content: ${await handle.readFile('utf8')}`).toBe(expected);
});

test('when the folder itself has become a link, nothing of where it leads is inside', async () => {
  await mkdir(join(folder.path, 'gone'));
  await symlink(join(folder.path, 'secret'), join(folder.path, 'moved'));
  expect(await PluginFile.open(join(folder.path, 'moved'), join(folder.path, 'moved', 'b.txt'))).toBe('outside');
});

describe.runIf(process.platform === 'linux')('while a folder is swapped for a link and back', () => {
  let swapper: ChildProcess;
  beforeAll(async () => {
    await mkdir(join(plugin, 'swapped'));
    await writeFile(join(plugin, 'swapped/b.txt'), 'fine');
    const program = `
      const fs = require('node:fs');
      fs.symlinkSync('../secret', 'link');
      console.log('ready');
      for (;;) {
        fs.renameSync('swapped', 'kept'); fs.renameSync('link', 'swapped');
        fs.renameSync('swapped', 'link'); fs.renameSync('kept', 'swapped');
      }`;
    swapper = spawn(process.execPath, ['-e', program], { cwd: plugin, stdio: ['ignore', 'pipe', 'inherit'] });
    await once(swapper.stdout as NonNullable<typeof swapper.stdout>, 'data');
  });
  afterAll(async () => {
    swapper.kill('SIGKILL');
    await once(swapper, 'close');
  });

  test('only what was inside is ever read', async () => {
    const seen = new Map<string, number>();
    for (let round = 0; round < 50_000 && (round < 2_000 || seen.size < 3); round++) {
      const file = await PluginFile.open(plugin, join(plugin, 'swapped/b.txt'));
      let what: string = typeof file === 'string' ? file : '';
      if (typeof file !== 'string') {
        await using it = file;
        what = await text(it.read(0, it.bytes));
      }
      seen.set(what, (seen.get(what) ?? 0) + 1);
    }
    expect(seen.keys()).not.toContain('SECRET');
    // It was there, it was a link, and it was nothing: else nothing would have been tried.
    expect([...seen.keys()].sort()).toEqual(['absent', 'fine', 'outside']);
  });
});

test('a file that becomes shorter is an error, and not a shorter answer', async () => {
  const path = join(plugin, 'shrinking');
  await writeFile(path, 'x'.repeat(100));
  await using file = (await PluginFile.open(plugin, path)) as PluginFile;
  await truncate(path, 10);
  await expect(text(file.read(0, file.bytes))).rejects.toThrow(/shorter/);
});

test('another file of the same name and size has another stamp', async () => {
  const path = join(plugin, 'stamped');
  const stampOf = async () => {
    await using file = (await PluginFile.open(plugin, path)) as PluginFile;
    return file.stamp;
  };
  await writeFile(path, 'one');
  const before = await stampOf();
  expect(await stampOf()).toBe(before);
  await writeFile(path, 'two');
  await utimes(path, 1, 1);
  expect(await stampOf()).not.toBe(before);
});
