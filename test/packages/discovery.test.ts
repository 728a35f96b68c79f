import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'vitest';
import { type DiscoveryLimits, discover } from '../../src/packages/discovery.ts';

/** A real plugins folder with a folder `stash` in it, gone at the end of its scope. */
class PluginsFolder implements AsyncDisposable {
  readonly outside: string;
  readonly dir: string;

  private constructor(base: string) {
    this.outside = join(base, 'outside');
    this.dir = join(base, 'plugins');
  }

  static async with(files: Record<string, string>): Promise<PluginsFolder> {
    const folder = new PluginsFolder(await mkdtemp(join(tmpdir(), 'isopod-discovery-')));
    await mkdir(join(folder.dir, 'stash'), { recursive: true });
    await mkdir(folder.outside);
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(folder.dir, name)), { recursive: true });
      await writeFile(join(folder.dir, name), text);
    }
    return folder;
  }

  async link(name: string, target: string): Promise<void> {
    await symlink(target, join(this.dir, name));
  }

  /** What is found: `file` for a manifest, `file: reason` for a refusal. */
  async found(limits: Partial<DiscoveryLimits> = {}): Promise<string[]> {
    const found = await discover({
      pluginsDir: this.dir,
      folder: 'stash',
      isManifest: (name) => name.endsWith('.yml'),
      limits,
    });
    return found.map((each) => (each.ok ? each.file : `${each.refusal.file}: ${each.refusal.reason}`));
  }

  async [Symbol.asyncDispose]() {
    await rm(dirname(this.dir), { recursive: true });
  }
}

test('manifests are found at any depth, depth first, names sorted by their bytes', async () => {
  await using folder = await PluginsFolder.with({
    'stash/b.yml': '',
    'stash/B.yml': '',
    'stash/a/z/deep.yml': '',
    'stash/a/y.yml': '',
    'stash/a.yml': '',
    'stash/ä.yml': '',
    'stash/\u{1f600}.yml': '',
    'stash/\uffee.yml': '',
    'other/x.yml': '',
  });

  assert.deepEqual(await folder.found(), [
    'stash/B.yml',
    'stash/a/y.yml',
    'stash/a/z/deep.yml',
    'stash/a.yml',
    'stash/b.yml',
    'stash/ä.yml',
    'stash/\uffee.yml',
    'stash/\u{1f600}.yml',
  ]);
});

test('hidden folders and node_modules are walked like any other, and only .yml counts', async () => {
  await using folder = await PluginsFolder.with({
    'stash/.github/a.yml': '',
    'stash/p/node_modules/b.yml': '',
    'stash/c.yaml': '',
    'stash/d.YML': '',
    'stash/yml': '',
  });

  assert.deepEqual(await folder.found(), ['stash/.github/a.yml', 'stash/p/node_modules/b.yml']);
});

test('a manifest comes with its bytes and its absolute path', async () => {
  await using folder = await PluginsFolder.with({ 'stash/p/a.yml': 'name: Ä' });

  const [found] = await discover({ pluginsDir: folder.dir, folder: 'stash', isManifest: (name) => name === 'a.yml' });

  assert(found?.ok);
  assert.equal(found.path, join(folder.dir, 'stash/p/a.yml'));
  assert.equal(Buffer.from(found.bytes).toString(), 'name: Ä');
});

describe('a folder that is not there has no plugins:', () => {
  for (const [pluginsDir, folder] of [
    ['/nowhere/at/all', 'stash'],
    [tmpdir(), 'isopod-no-such-folder'],
  ] as const) {
    test(join(pluginsDir, folder), async () => {
      assert.deepEqual(await discover({ pluginsDir, folder, isManifest: () => true }), []);
    });
  }
});

describe('links', () => {
  test('are followed inside the folder, to files and to folders', async () => {
    await using folder = await PluginsFolder.with({ 'stash/z/real.yml': '' });
    await folder.link('stash/a.yml', 'z/real.yml');
    await folder.link('stash/b', 'z');

    // The folder z is walked under the first name that leads there.
    assert.deepEqual(await folder.found(), ['stash/a.yml', 'stash/b/real.yml']);
  });

  test('that go in circles end', async () => {
    await using folder = await PluginsFolder.with({ 'stash/a/x.yml': '', 'stash/b/y.yml': '' });
    await folder.link('stash/a/self', '.');
    await folder.link('stash/a/up', '..');
    await folder.link('stash/a/other', '../b');
    await folder.link('stash/b/back', '../a');

    assert.deepEqual(await folder.found(), ['stash/a/other/y.yml', 'stash/a/x.yml']);
  });

  test('do not multiply: a tower of doubled links is walked once', async () => {
    await using folder = await PluginsFolder.with({ 'stash/d0/x.yml': '' });
    for (let i = 1; i <= 30; i++) {
      await mkdir(join(folder.dir, `stash/d${i}`));
      await folder.link(`stash/d${i}/left`, `../d${i - 1}`);
      await folder.link(`stash/d${i}/right`, `../d${i - 1}`);
    }

    assert.deepEqual(await folder.found(), ['stash/d0/x.yml']);
  });

  test('that lead outside are refused, and what is there is not read', async () => {
    await using folder = await PluginsFolder.with({ 'stash/ok.yml': '', 'other/x.yml': 'secret' });
    await writeFile(join(folder.outside, 'secret.yml'), 'secret');
    await folder.link('stash/file.yml', join(folder.outside, 'secret.yml'));
    await folder.link('stash/folder', folder.outside);
    await folder.link('stash/sibling', '../other');
    await folder.link('stash/via', 'folder');

    const reason = 'the link leads out of the plugins folder and is not followed';
    assert.deepEqual(await folder.found(), [
      `stash/file.yml: ${reason}`,
      `stash/folder: ${reason}`,
      'stash/ok.yml',
      `stash/sibling: ${reason}`,
      `stash/via: ${reason}`,
    ]);
  });

  test('that lead nowhere are refused, those that only lead to themselves too', async () => {
    await using folder = await PluginsFolder.with({ 'stash/ok.yml': '' });
    await folder.link('stash/broken.yml', 'missing.yml');
    await folder.link('stash/loop.yml', 'loop.yml');

    assert.deepEqual(await folder.found(), [
      'stash/broken.yml: the link leads nowhere (ENOENT)',
      'stash/loop.yml: the link leads nowhere (ELOOP)',
      'stash/ok.yml',
    ]);
  });

  test('make a folder elsewhere the folder of plugins, where the operator put one', async () => {
    await using folder = await PluginsFolder.with({});
    await writeFile(join(folder.outside, 'x.yml'), '');
    await rm(join(folder.dir, 'stash'), { recursive: true });
    await folder.link('stash', folder.outside);

    assert.deepEqual(await folder.found(), ['stash/x.yml']);
  });
});

describe('what is no manifest by its nature is refused, never opened:', () => {
  test('a folder called x.yml, which is walked all the same', async () => {
    await using folder = await PluginsFolder.with({ 'stash/x.yml/inner.yml': '' });

    assert.deepEqual(await folder.found(), [
      'stash/x.yml: a folder has the name of a manifest; rename it',
      'stash/x.yml/inner.yml',
    ]);
  });

  // Opened the usual way, it would wait for a writer for ever.
  test('a FIFO, also behind a link', async () => {
    await using folder = await PluginsFolder.with({ 'stash/z.yml': '' });
    execFileSync('mkfifo', [join(folder.dir, 'stash/fifo.yml')]);
    await folder.link('stash/link.yml', 'fifo.yml');

    assert.deepEqual(await folder.found(), [
      'stash/fifo.yml: not a regular file; it is not opened',
      'stash/link.yml: not a regular file; it is not opened',
      'stash/z.yml',
    ]);
  });
});

describe('limits', () => {
  const files = { 'stash/a/b/c/deep.yml': '', 'stash/z/1.yml': 'four', 'stash/z/2.yml': 'four', 'stash/z/3.yml': '' };

  const limits: Record<string, { limits: Partial<DiscoveryLimits>; expect: (string | RegExp)[] }> = {
    'on depth hide only what is deeper': {
      limits: { depth: 2 },
      expect: [/^stash\/a\/b\/c: folders may be 2 deep/, 'stash/z/1.yml', 'stash/z/2.yml', 'stash/z/3.yml'],
    },
    'on the entries of a folder hide only that folder': {
      limits: { entriesPerFolder: 2 },
      expect: ['stash/a/b/c/deep.yml', /^stash\/z: a folder may hold 2 files/],
    },
    'on all entries say where it stopped': {
      limits: { entries: 7 },
      expect: ['stash/a/b/c/deep.yml', /^stash\/z: there are more than 7 files/],
    },
    'on the bytes of a manifest hide only the manifest': {
      limits: { manifestBytes: 3 },
      expect: ['stash/a/b/c/deep.yml', /1.yml: a manifest may be 3 bytes long/, /2.yml: a manifest/, 'stash/z/3.yml'],
    },
    'on the bytes of all refuse those that are over': {
      limits: { totalBytes: 7 },
      expect: ['stash/a/b/c/deep.yml', 'stash/z/1.yml', /2.yml: all manifests together may have 7/, 'stash/z/3.yml'],
    },
  };
  for (const [what, { limits: set, expect }] of Object.entries(limits)) {
    test(what, async () => {
      await using folder = await PluginsFolder.with(files);
      const found = await folder.found(set);
      assert.equal(found.length, expect.length, JSON.stringify(found));
      for (const [index, expected] of expect.entries()) {
        if (typeof expected === 'string') assert.equal(found[index], expected);
        else assert.match(found[index] ?? '', expected);
      }
    });
  }

  test('and refusals never tell where the folder is on this machine', async () => {
    await using folder = await PluginsFolder.with(files);
    await folder.link('stash/broken.yml', join(folder.outside, 'missing.yml'));
    await folder.link('stash/out', folder.outside);

    for (const line of await folder.found({ manifestBytes: 3, depth: 1 })) assert(!line.includes(tmpdir()), line);
  });
});
