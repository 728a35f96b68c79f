// plugin.json and the folder that it is in. Contract: Dispatcharr `apps/plugins/loader.py`.
import { strict as assert } from 'node:assert';
import { describe, expect, test } from 'vitest';
import type { Plugin } from '../../src/core/plugin.ts';
import { dispatcharr, load } from '../../src/manifests/dispatcharr.ts';

const bytesOf = (text: string) => new TextEncoder().encode(text);

function read(manifest: string | Uint8Array, folder = 'Some Plugin', more: object = {}) {
  const bytes = typeof manifest === 'string' ? bytesOf(manifest) : manifest;
  return load({ file: `dispatcharr/${folder}`, path: `/p/dispatcharr/${folder}/plugin.json`, bytes, ...more });
}

function pluginOf(...args: Parameters<typeof read>): Plugin {
  const verdict = read(...args);
  assert(verdict.ok, JSON.stringify(verdict));
  return verdict.plugin;
}

test('a folder is a plugin that stays, with what its manifest says of it', () => {
  const manifest = {
    name: 'Some',
    version: '1.0',
    description: 'Does',
    author: 'Me',
    help_url: 'https://example.org',
    fields: [
      { id: 'a', type: 'string' },
      { id: 'b', type: 'unheard' },
    ],
    actions: [{ id: 'run', label: 'Run', events: ['epg_refresh'] }],
    min_dispatcharr_version: '99',
  };
  expect(pluginOf(JSON.stringify(manifest), 'My-Plug In', { permissions: bytesOf('network: [example.org]') })).toEqual({
    id: 'my-plug_in',
    dialect: 'dispatcharr',
    name: 'Some',
    description: 'Does',
    url: 'https://example.org',
    version: '1.0',
    dir: '/p/dispatcharr/My-Plug In',
    realDir: '/p/dispatcharr/My-Plug In',
    manifestFile: '/p/dispatcharr/My-Plug In/plugin.json',
    folder: 'My-Plug In',
    program: { runtime: 'python' },
    entries: [],
    settings: [],
    ui: null,
    errLog: null,
    asks: { network: ['example.org'], files: [], limits: {}, reason: null, problem: null },
    portrait: {
      name: 'Some',
      version: '1.0',
      description: 'Does',
      author: 'Me',
      helpUrl: 'https://example.org',
      fields: [{ id: 'a', type: 'string' }],
      actions: [{ id: 'run', label: 'Run', events: ['epg_refresh'] }],
    },
    warnings: [
      'plugin.json: fields[1] ("b") is left out: its type is none of string, number, boolean, select, text, info',
    ],
  });
});

describe('a manifest that is none makes a plugin without one:', () => {
  const none: Record<string, string | Uint8Array> = {
    nothing: '',
    'no JSON': '{"name": }',
    'JSON of Python only': '{"name": NaN}',
    'no object': '["name"]',
    null: 'null',
    'no UTF-8': Uint8Array.of(0x7b, 0xff, 0x7d),
    'a byte order mark': '\ufeff{"name": "x"}',
    'lists in lists': '['.repeat(200_000),
    'lists in lists that end': '['.repeat(100_000) + ']'.repeat(100_000),
  };
  test.each(Object.entries(none))('%s', (_, manifest) => {
    expect(pluginOf(manifest)).toMatchObject({ id: 'some_plugin', name: '', version: null, portrait: null });
  });
});

test('an id must be fit to be shown', () => {
  for (const folder of ['a\u202eb', 'tab\tin it', 'x'.repeat(201), '\ud800']) {
    const verdict = read('{}', folder);
    assert(!verdict.ok);
    expect(verdict.refusal).toMatchObject({ file: `dispatcharr/${folder}`, line: null });
    expect(verdict.refusal.reason).toMatch(/a plugin id may .*; rename the folder/);
  }
  expect(pluginOf('{}', 'Zählt nicht.v2').id).toBe('zählt_nicht.v2');
});

test('one of an archive is called as it was installed, whatever its folder is', () => {
  expect(pluginOf('{}', 'repo-main', { id: 'repo_main' })).toMatchObject({ id: 'repo_main', folder: 'repo_main' });
});

test('the names of archives and of folders in them become ids', () => {
  const names = {
    'My-Golden Plugin.v1': 'my_golden_plugin_v1',
    '..': 'plugin',
    '': 'plugin',
    __init__: 'init',
    日本: 'plugin',
    'x😀y': 'x_y',
    '../../etc/passwd': 'passwd',
    [`${'Ab'.repeat(100)}`]: 'ab'.repeat(64),
  };
  for (const [name, id] of Object.entries(names)) expect([name, dispatcharr.folders?.idFrom(name)]).toEqual([name, id]);
});
