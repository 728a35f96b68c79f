// Folders, single files and package.json. Contract: SillyTavern `src/plugin-loader.js`.
import { strict as assert } from 'node:assert';
import { describe, expect, test } from 'vitest';
import type { Plugin } from '../../src/core/plugin.ts';
import { load, sillytavern } from '../../src/manifests/sillytavern.ts';

const bytesOf = (text: string) => new TextEncoder().encode(text);

function read(manifest: string | Uint8Array, name = 'Some Plugin', more: object = {}) {
  const bytes = typeof manifest === 'string' ? bytesOf(manifest) : manifest;
  return load({ file: `sillytavern/${name}`, path: `/p/sillytavern/${name}/package.json`, bytes, ...more });
}

function readFile(name: string, more: object = {}) {
  return load({ file: `sillytavern/${name}`, path: `/p/sillytavern/${name}`, bytes: new Uint8Array(), ...more });
}

function pluginOf(verdict: ReturnType<typeof load>): Plugin {
  assert(verdict.ok, JSON.stringify(verdict));
  return verdict.plugin;
}

test('a folder is a plugin that answers requests, with what its package.json says of it', () => {
  const manifest = {
    name: '@me/some',
    version: '1.2.3',
    description: 'Does\u0000',
    author: { name: 'Me', email: 'me@example.org' },
    homepage: 'https://example.org',
    main: 'any.js',
    fields: [{ id: 'a', type: 'string' }],
    actions: [{ id: 'run', label: 'Run' }],
    dialect: 'stash',
    program: { runtime: 'process', exec: ['/bin/sh'] },
  };
  const permissions = bytesOf('network: [example.org]');
  expect(pluginOf(read(JSON.stringify(manifest), 'Some Plügin', { permissions }))).toEqual({
    id: 'some-pl-gin',
    dialect: 'sillytavern',
    name: '@me/some',
    description: 'Does',
    url: 'https://example.org',
    version: '1.2.3',
    dir: '/p/sillytavern/Some Plügin',
    realDir: '/p/sillytavern/Some Plügin',
    manifestFile: '/p/sillytavern/Some Plügin/package.json',
    folder: 'Some Plügin',
    program: { runtime: 'node', file: null },
    entries: [],
    settings: [],
    ui: null,
    errLog: null,
    asks: { network: ['example.org'], files: [], limits: {}, reason: null, problem: null },
    portrait: {
      name: '@me/some',
      version: '1.2.3',
      description: 'Does',
      author: 'Me',
      helpUrl: 'https://example.org',
      fields: [],
      actions: [],
    },
  });
});

test('a single file is one by itself, among others in its folder', () => {
  const plugin = pluginOf(readFile('My.Own.mjs', { realDir: '/real', permissions: 'cannot be read (EACCES)' }));
  expect(plugin).toMatchObject({
    id: 'my-own',
    dir: '/p/sillytavern',
    realDir: '/real',
    manifestFile: '/p/sillytavern/My.Own.mjs',
    program: { runtime: 'node', file: 'My.Own.mjs' },
    portrait: null,
    asks: { network: [], problem: 'cannot be read (EACCES)' },
  });
  expect(plugin.folder).toBeUndefined();
});

describe('a package.json that says nothing makes a plugin without one:', () => {
  const none: Record<string, string | Uint8Array> = {
    nothing: '',
    'no JSON': '{"name": }',
    'no object': '["name"]',
    null: 'null',
    'no UTF-8': Uint8Array.of(0x7b, 0xff, 0x7d),
    'a byte order mark': '\ufeff{"name": "x"}',
    'lists in lists': '['.repeat(200_000),
  };
  test.each(Object.entries(none))('%s', (_, manifest) => {
    const plugin = pluginOf(read(manifest));
    expect(plugin).toMatchObject({ id: 'some-plugin', name: '', version: null, portrait: null });
    const why =
      manifest === '' ? undefined : [expect.stringMatching(/^package\.json: all of it is left out: it (is no|begins)/)];
    expect(plugin.warnings).toEqual(why);
  });
});

test('what it says is taken where it is of its kind', () => {
  const said = (manifest: object) => pluginOf(read(JSON.stringify(manifest))).portrait;
  expect(said({ name: 5, version: ['1'], author: { name: {} }, homepage: 'javascript:alert(1)' })).toEqual({
    name: '',
    version: '',
    description: '',
    author: '',
    helpUrl: '',
    fields: [],
    actions: [],
  });
  expect(said({ author: 'Me <me@example.org>' })?.author).toBe('Me <me@example.org>');
});

test('it names the code where main is a text that is not empty', () => {
  const names = (manifest: string) => sillytavern.folders?.namesCode?.(bytesOf(manifest));
  expect(['{"main":"gone.mjs"}', '{"main":""}', '{"main":5}', '{"name":"x"}', '[]', '', 'x'].map(names)).toEqual([
    true,
    ...Array(6).fill(false),
  ]);
});

test('a name that gives no id, or one of another API, is refused in words', () => {
  const refusals = {
    日本: 'a plugin id is made of a-z, 0-9, _ and -, and "日本" gives none; rename the folder',
    '-_-': 'a plugin id is made of a-z, 0-9, _ and -, and "-_-" gives none; rename the folder',
    Plugins: '"plugins" is reserved, as /api/plugins/plugins/ is another API\'s; rename the folder',
    repos: '"repos" is reserved, as /api/plugins/repos/ is another API\'s; rename the folder',
    'a\u202eb': 'a plugin id may not contain control or invisible characters; rename the folder',
    [`${'x'.repeat(201)}`]: 'a plugin id may be 200 bytes long at most; rename the folder',
  };
  for (const [name, reason] of Object.entries(refusals)) {
    expect([name, read('{}', name)]).toEqual([
      name,
      { ok: false, refusal: { file: `sillytavern/${name}`, line: null, column: null, reason } },
    ]);
  }
  for (const name of ['events.js', 'ä.cjs', 'a\tb.mjs']) {
    const verdict = readFile(name);
    assert(!verdict.ok);
    expect([name, verdict.refusal.reason]).toEqual([name, expect.stringMatching(/rename the file$/)]);
  }
});

test('the names of archives and of folders in them become ids, without what GitHub puts behind them', () => {
  const names = {
    'SillyTavern-Own-main': 'sillytavern-own',
    'Own-release': 'own',
    'Own-v1.2.3': 'own',
    'Own-2.0': 'own',
    [`Own-${'0a'.repeat(20)}`]: 'own',
    'Own-2': 'own-2',
    main: 'main',
    'domain-x': 'domain-x',
    'My Plugin_v1': 'my-plugin_v1',
    '../../etc/passwd': 'passwd',
    'x😀y': 'x-y',
    [`${'Ab'.repeat(100)}`]: 'ab'.repeat(64),
    '': '',
  };
  for (const [name, id] of Object.entries(names)) expect([name, sillytavern.folders?.idFrom(name)]).toEqual([name, id]);
});

test('one of an archive has the folder that its author has given it, if it was installed as that', () => {
  const called = (folder: string, id: string) => pluginOf(read('{}', folder, { id }));
  expect(called('SillyTavern-Own-main', 'sillytavern-own')).toMatchObject({
    id: 'sillytavern-own',
    folder: 'SillyTavern-Own',
  });
  expect(called('0f3c', 'own')).toMatchObject({ id: 'own', folder: 'own' });
  for (const id of ['', 'plugins']) expect([id, read('{}', 'x', { id }).ok]).toEqual([id, false]);
});
