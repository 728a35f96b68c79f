import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'vitest';
import { Catalogues } from '../../src/engine/catalogue.ts';
import type { ManifestDialect } from '../../src/manifests/dialect.ts';
import { dispatcharr } from '../../src/manifests/dispatcharr.ts';
import { sillytavern } from '../../src/manifests/sillytavern.ts';
import { stash } from '../../src/manifests/stash.ts';

/** A real plugins folder and its catalogues, both gone at the end of the scope. */
class Fixture implements AsyncDisposable {
  readonly dir: string;
  readonly catalogues: Catalogues;

  private constructor(dir: string, dialects: readonly ManifestDialect[]) {
    this.dir = dir;
    this.catalogues = new Catalogues({ pluginsDir: dir, dialects });
  }

  static async with(files: Record<string, string>, dialects: readonly ManifestDialect[] = [stash]): Promise<Fixture> {
    const fixture = new Fixture(await mkdtemp(join(tmpdir(), 'isopod-catalogue-')), dialects);
    for (const [name, text] of Object.entries(files)) await fixture.write(name, text);
    return fixture;
  }

  async write(name: string, text: string): Promise<void> {
    await mkdir(dirname(join(this.dir, name)), { recursive: true });
    await writeFile(join(this.dir, name), text);
  }

  async reload() {
    const { plugins, refused } = await this.catalogues.reload();
    return { plugins, refused, ids: [...plugins.keys()] };
  }

  async [Symbol.asyncDispose]() {
    await this.catalogues[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true });
  }
}

test('before the first load there is an empty catalogue', async () => {
  await using fixture = await Fixture.with({ 'stash/a.yml': '{}' });

  assert.equal(fixture.catalogues.current.plugins.size, 0);
  const loaded = await fixture.catalogues.reload();
  assert.equal(fixture.catalogues.current, loaded);
  assert.deepEqual([...loaded.plugins.keys()], ['a']);
  assert(loaded.loadedAt.getTime() > 0 && loaded.loadMs > 0);
});

test('one bad manifest hides no other, wherever it stands', async () => {
  await using fixture = await Fixture.with({
    'stash/a/bomb.yml': '['.repeat(100_000),
    'stash/b/good.yml': 'name: Good',
    'stash/c/typo.yml': 'name: x\nnmae: y',
    'stash/d/empty.yml': '',
    'stash/e/big.yml': '#'.repeat(300_000),
    'stash/f/fine.yml': 'name: Fine',
  });
  await symlink('/nowhere', join(fixture.dir, 'stash/g.yml'));

  const { ids, refused } = await fixture.reload();

  assert.deepEqual(ids, ['good', 'fine']);
  assert.deepEqual(
    refused.map(({ file, line, column }) => `${file} ${line}:${column}`),
    [
      'stash/a/bomb.yml 1:64',
      'stash/c/typo.yml 2:1',
      'stash/d/empty.yml 1:1',
      'stash/e/big.yml null:null',
      'stash/g.yml null:null',
    ],
  );
  for (const { reason } of refused) assert(!reason.includes(tmpdir()), reason);
});

describe('of plugins with one id', () => {
  test('the first in order stays, and case does not matter', async () => {
    await using fixture = await Fixture.with({
      'stash/1/Demo.yml': 'name: First',
      'stash/2/demo.yml': 'name: Second',
      'stash/3/ſtaſh.yml': '{}',
      'stash/4/STASH.yml': '{}',
    });

    const { plugins, ids, refused } = await fixture.reload();

    assert.deepEqual(ids, ['Demo', 'ſtaſh']);
    assert.equal(plugins.get('Demo')?.name, 'First');
    assert.equal(plugins.get('demo'), undefined);
    assert.deepEqual(
      refused.map(({ file }) => file),
      ['stash/2/demo.yml', 'stash/4/STASH.yml'],
    );
    assert.match(refused[0]?.reason ?? '', /"demo" already .*: stash\/1\/Demo\.yml$/);
  });

  test('the dialect that comes first counts, whatever its folder is called', async () => {
    const second: ManifestDialect = { ...stash, name: 'dispatcharr', folder: 'aaa' };
    await using fixture = await Fixture.with({ 'aaa/x.yml': 'name: Second', 'stash/x.yml': 'name: First' }, [
      stash,
      second,
    ]);

    const { plugins, refused } = await fixture.reload();

    assert.equal(plugins.get('x')?.name, 'First');
    assert.deepEqual(
      refused.map(({ file }) => file),
      ['aaa/x.yml'],
    );
  });
});

describe('after a reload', () => {
  const files = {
    'stash/p/p.yml': 'interface: js\nexec: [p.js]',
    'stash/p/p.js': '1',
    'stash/q.yml': 'exec: [python, q.py]',
    'stash/bad.yml': 'foo: 1',
  };

  test('a plugin whose files are the same is the same object', async () => {
    await using fixture = await Fixture.with(files);
    const before = await fixture.reload();
    const after = await fixture.reload();

    assert.notEqual(after.plugins, before.plugins);
    for (const id of ['p', 'q']) assert.equal(after.plugins.get(id), before.plugins.get(id));
    assert.deepEqual(
      after.refused.map(({ file }) => file),
      ['stash/bad.yml'],
    );
  });

  const changes: Record<string, (fixture: Fixture) => Promise<void>> = {
    'its manifest is another': (fixture) => fixture.write('stash/p/p.yml', 'interface: js\nexec: [p.js]\nname: P'),
    'its program has another size': (fixture) => fixture.write('stash/p/p.js', '22'),
    'its program is of another time': (fixture) => utimes(join(fixture.dir, 'stash/p/p.js'), 1, 1),
    'its program was replaced': async (fixture) => {
      await fixture.write('stash/p/new.js', '2');
      await rename(join(fixture.dir, 'stash/p/new.js'), join(fixture.dir, 'stash/p/p.js'));
    },
    'its program is gone': (fixture) => rm(join(fixture.dir, 'stash/p/p.js')),
  };
  for (const [change, make] of Object.entries(changes)) {
    test(`a plugin is another object if ${change}`, async () => {
      await using fixture = await Fixture.with(files);
      const before = await fixture.reload();
      await make(fixture);
      const after = await fixture.reload();

      assert.notEqual(after.plugins.get('p'), before.plugins.get('p'));
      assert.equal(after.plugins.get('q'), before.plugins.get('q'));
    });
  }

  test('what is new is there, what is gone is not, and what was mended is no longer refused', async () => {
    await using fixture = await Fixture.with(files);
    const before = await fixture.reload();
    await fixture.write('stash/new.yml', '{}');
    await fixture.write('stash/bad.yml', '{}');
    await rm(join(fixture.dir, 'stash/q.yml'));

    const { ids, refused } = await fixture.reload();

    assert.deepEqual(ids, ['bad', 'new', 'p']);
    assert.deepEqual(refused, []);
    assert.deepEqual(before.ids, ['p', 'q']);
  });
});

test('a reload asked for while another runs sees what was written in between', async () => {
  await using fixture = await Fixture.with({ 'stash/a.yml': '{}' });
  const first = fixture.catalogues.reload();
  await fixture.write('stash/b.yml', '{}');
  const second = fixture.catalogues.reload();
  const third = fixture.catalogues.reload();

  assert.equal(second, third);
  assert.notEqual(first, second);
  await first;
  const last = await second;
  assert.deepEqual([...last.plugins.keys()], ['a', 'b']);
  assert.equal(fixture.catalogues.current, last);
  assert.notEqual(await fixture.catalogues.reload(), last);
});

describe('plugins that are folders', () => {
  const dialects = [stash, dispatcharr];

  test('stand beside others; of two that give one id, the first counts and the other is refused by name', async () => {
    await using fixture = await Fixture.with(
      {
        'stash/here.yml': '{}',
        'dispatcharr/My Plugin/plugin.py': '',
        'dispatcharr/My Plugin/logo.png': 'png',
        'dispatcharr/my_plugin/plugin.py': '',
        'dispatcharr/Here/plugin.py': '',
        'dispatcharr/b\u202ed/plugin.py': '',
      },
      dialects,
    );
    const { plugins, ids, refused } = await fixture.reload();
    assert.deepEqual(ids, ['here', 'my_plugin']);
    assert.deepEqual(
      refused.map(({ file }) => file),
      ['dispatcharr/Here', 'dispatcharr/b\u202ed', 'dispatcharr/my_plugin'].sort(),
    );
    const plugin = plugins.get('my_plugin');
    assert.equal(plugin?.folder, 'My Plugin');
    assert.equal(plugin?.logo, join(fixture.dir, 'dispatcharr/My Plugin/logo.png'));
  });

  test('are new objects when any of their files is another, and only then', async () => {
    await using fixture = await Fixture.with(
      { 'dispatcharr/a/plugin.py': '', 'dispatcharr/a/lib/x.py': '1', 'dispatcharr/b/__init__.py': '' },
      dialects,
    );
    let { plugins: before } = await fixture.reload();
    const isSame = async (id: string) => {
      const { plugins } = await fixture.reload();
      const same = before.get(id) === plugins.get(id);
      before = plugins;
      return same;
    };
    assert.equal(await isSame('a'), true);
    await fixture.write('dispatcharr/a/lib/x.py', '2');
    const b = before.get('b');
    const stamp = before.get('a')?.stamp;
    assert.equal(await isSame('a'), false);
    assert.notEqual(before.get('a')?.stamp, stamp);
    assert.equal(before.get('b'), b);
    await fixture.write('dispatcharr/a/lib/y.py', '');
    assert.equal(await isSame('a'), false);
    await rename(join(fixture.dir, 'dispatcharr/a/lib/y.py'), join(fixture.dir, 'dispatcharr/a/lib/z.py'));
    assert.equal(await isSame('a'), false);
    await fixture.write('dispatcharr/a/plugin.json', '{}');
    assert.equal(await isSame('a'), false);
    await fixture.write('dispatcharr/a/plugin.permissions.yaml', 'network: []');
    assert.equal(await isSame('a'), false);
    // What Python writes beside what it has run.
    await fixture.write('dispatcharr/a/lib/__pycache__/x.cpython-313.pyc', '');
    assert.equal(await isSame('a'), true);
    await rm(join(fixture.dir, 'dispatcharr/a/lib'), { recursive: true });
    assert.equal(await isSame('a'), false);
  });

  test('may stand beside files that are plugins, each of which changes by itself', async () => {
    await using fixture = await Fixture.with(
      {
        'sillytavern/own/index.js': '',
        'sillytavern/own/node_modules/x/index.js': '',
        'sillytavern/own.js': '',
        'sillytavern/one.js': '1',
        'sillytavern/two.mjs': '2',
        'sillytavern/logo.png': 'png',
        'sillytavern/repos.cjs': '',
      },
      [stash, dispatcharr, sillytavern],
    );
    const { plugins: before, ids, refused } = await fixture.reload();
    assert.deepEqual(ids, ['one', 'own', 'two']);
    assert.deepEqual(
      refused.map(({ file, reason }) => [file, reason.split(';')[0]]),
      [
        ['sillytavern/own.js', 'there is a plugin of the id "own" already (case does not matter): sillytavern/own'],
        ['sillytavern/repos.cjs', `"repos" is reserved, as /api/plugins/repos/ is another API's`],
      ],
    );
    assert.equal(before.get('one')?.logo, null);
    const same = async () => {
      const { plugins } = await fixture.reload();
      return ids.filter((id) => plugins.get(id) === before.get(id));
    };
    assert.deepEqual(await same(), ids);
    await fixture.write('sillytavern/one.js', '11');
    assert.deepEqual(await same(), ['own', 'two']);
    await fixture.write('sillytavern/own/node_modules/x/index.js', '1');
    assert.deepEqual(await same(), ['two']);
    await fixture.write('sillytavern/two.permissions.yaml', 'network: []');
    assert.deepEqual(await same(), []);
  });
});
