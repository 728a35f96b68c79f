// The cache believes the database and nobody else: what is in its folder is read before it is used.
import { strict as assert } from 'node:assert';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { passingName } from '../../src/packages/folders.ts';
import { PrivateCopies } from '../../src/packages/private-copies.ts';
import { Remover } from '../../src/packages/remover.ts';
import { type Bundle, UnpackCache } from '../../src/packages/unpack-cache.ts';
import { Unpacker } from '../../src/packages/unpacker.ts';
import { zipOf } from '../support/zip.ts';

const scope = new AsyncDisposableStack();
const archive = zipOf({ 'a.yml': 'name: a', 'dir/run.sh': '#!/bin/sh\n', 'dir/data': 'x'.repeat(1_000) });
let root: string;
let unpacker: Unpacker;
let bundle: Bundle;
/** How often the archive was fetched. */
let fetched = 0;
let dir: string;
let cache: UnpackCache;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'isopod-cache-'));
  scope.defer(() => rm(root, { recursive: true, force: true }));
  unpacker = scope.use(new Unpacker());
  bundle = await bundleOf(archive);
});
afterAll(() => scope.disposeAsync());
beforeEach(async () => {
  dir = await mkdtemp(join(root, 'cache-'));
  cache = new UnpackCache({ dir, unpacker, stranger: unpacker, bytes: 1_000_000 });
  fetched = 0;
});

async function bundleOf(bytes: Buffer): Promise<Bundle> {
  const { sha256, tree } = await unpacker.unpack(Buffer.from(bytes), join(await mkdtemp(join(root, 'b-')), 'x'));
  const fetch = async () => {
    fetched += 1;
    return Buffer.from(bytes);
  };
  return { sha256, treeHash: tree.hash, archive: fetch };
}

async function open(by = cache): Promise<string> {
  using held = await by.open(bundle);
  return held.dir;
}

test('an archive is unpacked once, and nothing of it can be written to', async () => {
  const folder = await open();
  expect(folder).toBe(join(dir, bundle.sha256));
  expect(await open()).toBe(folder);
  // Another process, or the same one after a start.
  expect(await open(new UnpackCache({ dir, unpacker, stranger: unpacker, bytes: 1_000_000 }))).toBe(folder);
  expect(fetched).toBe(1);
  const mode = async (path: string) => ((await stat(join(folder, path))).mode & 0o7777).toString(8);
  expect([await mode('a.yml'), await mode('dir/run.sh')]).toEqual(['444', '555']);
  expect(await readdir(dir)).toEqual([bundle.sha256]);
});

describe('is unpacked anew when somebody', () => {
  const changes: Record<string, (folder: string) => Promise<unknown>> = {
    'has changed a file': async (folder) => {
      await chmod(join(folder, 'a.yml'), 0o644);
      await writeFile(join(folder, 'a.yml'), 'name: b');
      await chmod(join(folder, 'a.yml'), 0o444);
    },
    'has made a file writable': (folder) => chmod(join(folder, 'a.yml'), 0o644),
    'has made a file executable': (folder) => chmod(join(folder, 'a.yml'), 0o555),
    'has taken a file away': (folder) => rm(join(folder, 'dir/data')),
    'has added a file': (folder) => writeFile(join(folder, 'dir/more.yml'), 'name: more', { mode: 0o444 }),
    'has added a folder': (folder) => mkdir(join(folder, 'more')),
    'has added a link': (folder) => symlink('/etc/passwd', join(folder, 'link')),
    'has put a link in the place of a file': async (folder) => {
      await rename(join(folder, 'a.yml'), join(root, 'elsewhere.yml'));
      await symlink(join(root, 'elsewhere.yml'), join(folder, 'a.yml'));
    },
    'has put a link in the place of the folder': async (folder) => {
      const elsewhere = await mkdtemp(join(root, 'elsewhere-'));
      await rename(folder, join(elsewhere, 'x'));
      await symlink(join(elsewhere, 'x'), folder);
    },
    'has emptied it': async (folder) => {
      await rm(folder, { recursive: true });
      await mkdir(folder);
    },
    'has removed it': (folder) => rm(folder, { recursive: true }),
  };
  test.each(Object.entries(changes))('%s', async (_name, change) => {
    const folder = await open();
    await change(folder);
    using held = await cache.open(bundle);
    expect(fetched).toBe(2);
    expect(await readFile(join(held.dir, 'a.yml'), 'utf8')).toBe('name: a');
    expect((await readdir(held.dir, { recursive: true })).sort()).toEqual(['a.yml', 'dir', 'dir/data', 'dir/run.sh']);
    expect((await stat(join(held.dir, 'a.yml'))).mode & 0o7777).toBe(0o444);
    expect(await readdir(dir)).toEqual([bundle.sha256]);
  });
});

test('an archive that is another, or unpacks to something else than it did, is not used', async () => {
  const other = await bundleOf(zipOf({ 'a.yml': 'name: other' }));
  for (const wrong of [
    { ...bundle, archive: other.archive },
    { ...bundle, treeHash: other.treeHash },
  ]) {
    await assert.rejects(cache.open(wrong), Failure);
    expect(await readdir(dir)).toEqual([]);
  }
  await open();
});

test('what a crash has left behind does not count, and is gone with the next start when nobody can be at work on it', async () => {
  const folder = await open();
  const [young, old, foreign] = [Date.now(), Date.now() - 3_600_000, null].map((at) =>
    at === null ? 'notes' : `.${at.toString(36)}-0123456789abcdef01`,
  );
  for (const name of [young, old, foreign]) {
    await mkdir(join(dir, String(name)));
    await writeFile(join(dir, String(name), 'half'), 'x');
  }
  expect(await open(new UnpackCache({ dir, unpacker, stranger: unpacker, bytes: 1_000_000 }))).toBe(folder);
  expect((await readdir(dir)).sort()).toEqual([young, bundle.sha256, foreign].sort());
});

test('several that unpack the same archive at once do not harm each other', async () => {
  const caches = Array.from(
    { length: 6 },
    () => new UnpackCache({ dir, unpacker, stranger: unpacker, bytes: 1_000_000 }),
  );
  const helpers = await Promise.all(Array.from({ length: 2 }, async () => scope.use(new Unpacker())));
  for (const helper of helpers)
    caches.push(new UnpackCache({ dir, unpacker: helper, stranger: helper, bytes: 1_000_000 }));
  const folders = await Promise.all(caches.flatMap((one) => [open(one), open(one)]));
  expect(new Set(folders)).toEqual(new Set([join(dir, bundle.sha256)]));
  expect(await readdir(dir)).toEqual([bundle.sha256]);
  expect(fetched).toBeLessThanOrEqual(caches.length);
});

test('what nobody uses is removed beyond its bound, what was used longest ago first', async () => {
  const bundles = await Promise.all(
    ['one', 'two', 'three', 'four'].map((name) => bundleOf(zipOf({ 'a.yml': name, data: Buffer.alloc(1_000) }))),
  );
  const [one, two, three, four] = bundles as [Bundle, Bundle, Bundle, Bundle];
  const small = new UnpackCache({ dir, unpacker, stranger: unpacker, bytes: 20_000 });
  using _inUse = await small.open(one);
  for (const each of [two, three]) (await small.open(each))[Symbol.dispose]();
  expect((await readdir(dir)).sort()).toEqual([one.sha256, three.sha256].sort());

  // After a start it is the files that say what was used when.
  (await small.open(four))[Symbol.dispose]();
  await utimes(join(dir, four.sha256), 1, 1);
  const later = new UnpackCache({ dir, unpacker, stranger: unpacker, bytes: 12_000 });
  (await later.open(one))[Symbol.dispose]();
  expect(await readdir(dir)).toEqual([one.sha256]);
});

test('what is installed already does not wait for the one who unpacks what strangers send', async () => {
  const stranger = new Unpacker();
  await stranger[Symbol.asyncDispose]();
  const busy = new UnpackCache({ dir, unpacker, stranger, bytes: 1_000_000 });
  await assert.rejects(busy.unpack(zipOf({ 'b.yml': 'b' })), /closed/);
  using held = await busy.open(bundle);
  expect(held.tree.hash).toBe(bundle.treeHash);
});

describe('a private copy', () => {
  let copies: PrivateCopies;
  let remover: Remover;
  const newCopies = async () =>
    new PrivateCopies(join(await mkdtemp(join(root, 'tenant-')), 'packages'), unpacker, remover);
  beforeEach(async () => {
    remover = scope.use(new Remover());
    copies = await newCopies();
  });

  test('can be written to, stays as it is, and is nobody else’s', async () => {
    using held = await cache.open(bundle);
    const mine = await copies.open(bundle.sha256, held);
    const theirs = await (await newCopies()).open(bundle.sha256, held);
    await writeFile(join(mine, 'dir/data'), 'mine');
    await writeFile(join(mine, 'new'), 'mine');
    expect(await readFile(join(theirs, 'dir/data'), 'utf8')).toBe('x'.repeat(1_000));
    expect(await copies.open(bundle.sha256, held)).toBe(mine);
    expect(await readFile(join(mine, 'dir/data'), 'utf8')).toBe('mine');
    expect((await stat(join(mine, 'dir/run.sh'))).mode & 0o7777).toBe(0o755);
    await open();
    expect(fetched).toBe(1);
  });

  test('is gone when nothing is installed from its archive any more, and so is whatever else is there', async () => {
    using held = await cache.open(bundle);
    const copy = await copies.open(bundle.sha256, held);
    const all = join(copy, '..');
    await mkdir(join(all, 'plugin', 'f'.repeat(64)), { recursive: true });
    await copies.retain(new Set([bundle.sha256]));
    await vi.waitFor(async () => expect(await readdir(all)).toEqual([bundle.sha256]));
    expect((await readdir(copy)).sort()).toEqual(['a.yml', 'dir']);
    await copies.retain(new Set(['f'.repeat(64)]));
    await assert.rejects(stat(copy), { code: 'ENOENT' });
    await vi.waitFor(async () => expect(await readdir(all)).toEqual([]));
  });

  test('of which only a half was made does not count', async () => {
    using held = await cache.open(bundle);
    const copy = await copies.open(bundle.sha256, held);
    const half = join(copy, '..', passingName());
    await rename(copy, half);
    await rm(join(half, 'a.yml'));
    const again = await copies.open(bundle.sha256, held);
    expect((await readdir(again)).sort()).toEqual(['a.yml', 'dir']);
    await copies.retain(new Set([bundle.sha256]));
    await vi.waitFor(async () => expect(await readdir(join(copy, '..'))).toEqual([bundle.sha256]));
  });
});
