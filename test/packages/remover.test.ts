import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Remover } from '../../src/packages/remover.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'isopod-remover-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const emptied = () => vi.waitFor(async () => expect(await readdir(root)).toEqual([]), { timeout: 10_000 });

test('a name is free at once, and what had it goes', async () => {
  using remover = new Remover();
  const path = join(root, 'a');
  await mkdir(join(path, 'deep/er'), { recursive: true });
  await Promise.all(Array.from({ length: 300 }, (_, at) => writeFile(join(path, 'deep', `${at}`), '')));
  await remover.remove(path);
  expect(await readdir(root)).not.toContain('a');
  await remover.remove(path);
  await emptied();
});

test('folders that nobody may read or write are removed, too', async () => {
  using remover = new Remover();
  await mkdir(join(root, 'a/closed'), { recursive: true });
  await writeFile(join(root, 'a/closed/file'), '');
  await chmod(join(root, 'a/closed'), 0);
  await remover.remove(join(root, 'a'));
  await emptied();
});

test('links are removed, not what they lead to', async () => {
  using remover = new Remover();
  const outside = await mkdtemp(join(tmpdir(), 'isopod-outside-'));
  await writeFile(join(outside, 'file'), 'kept');
  await mkdir(join(root, 'a'));
  await symlink(outside, join(root, 'a/link'));
  await symlink(outside, join(root, 'b'));
  for (const name of ['a', 'b']) await remover.remove(join(root, name));
  await emptied();
  expect(await readFile(join(outside, 'file'), 'utf8')).toBe('kept');
  await rm(outside, { recursive: true });
});

test('one that has ended removes nothing, and the next one finds what it has left', async () => {
  const ended = new Remover();
  ended[Symbol.dispose]();
  await mkdir(join(root, 'a/deep'), { recursive: true });
  await ended.remove(join(root, 'a'));
  expect(await readdir(root)).toEqual([expect.stringMatching(/^\./)]);
  using next = new Remover();
  await next.sweep(root);
  await emptied();
  await next.sweep(join(root, 'none'));
});
