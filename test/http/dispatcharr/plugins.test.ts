import { hash } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dispatcharr } from '../../../src/manifests/dispatcharr.ts';
import { type FakeService, ok, portrait, startFakeService } from '../../support/fake.ts';
import { zip, zipOf } from '../../support/zip.ts';

const CODE = 'class Plugin:\n    pass\n';
const MANIFEST = {
  name: 'Fleeting',
  version: '1.2',
  fields: [{ id: 'key', type: 'string', label: 'Key', input_type: 'password' }],
  actions: [{ id: 'watch', label: 'Watch', events: ['channel_start'] }],
};

let service: FakeService;
beforeAll(async () => {
  service = await startFakeService({
    onDisk: {
      dialect: dispatcharr,
      folders: {
        'B second': { 'plugin.py': CODE },
        'a third': { 'plugin.py': CODE },
        fleeting: { 'plugin.py': CODE, 'plugin.json': JSON.stringify(MANIFEST) },
      },
    },
    act: async ({ args }) => ok(args),
    config: { dispatcharr: { passwords: 'clear' }, packages: { unpackedBytes: 20_000, archiveBytes: 2_000_000 } },
  });
});
afterAll(() => service[Symbol.asyncDispose]());

const ask = (method: string, path: string, body?: unknown) =>
  service.ask(method, `/api/plugins/${path}`, body === undefined ? {} : { body });
const list = async () => (await ask('GET', 'plugins/')).body.plugins;

function send(bytes: Buffer, { name = 'x.zip', ...fields }: Record<string, string> = {}) {
  const form = new FormData();
  for (const [field, value] of Object.entries(fields)) form.set(field, value);
  form.set('file', new Blob([new Uint8Array(bytes)]), name);
  return service.fetch('/api/plugins/plugins/import/', { method: 'POST', body: form });
}

test('plugins are listed in the order of their folders, in bytes, and then those that are gone by key', async () => {
  await ask('POST', 'plugins/fleeting/enabled/', { enabled: true });
  await ask('POST', 'plugins/fleeting/settings/', { settings: { key: 'open sesame' } });
  expect((await list()).map(({ key }: { key: string }) => key)).toEqual(['b_second', 'a_third', 'fleeting']);

  await rm(join(resolve(service.config.pluginsDir), 'dispatcharr', 'fleeting'), { recursive: true });
  expect((await ask('POST', 'plugins/reload/')).body).toEqual({ success: true, count: 2 });
  expect((await list()).at(-1)).toEqual({
    key: 'fleeting',
    name: 'Fleeting',
    version: '1.2',
    description: '',
    author: '',
    help_url: '',
    enabled: true,
    ever_enabled: true,
    fields: [],
    actions: [],
    // In clear, as the configuration says here; what is secret is known without the folder.
    settings: { key: 'open sesame' },
    missing: true,
    trusted: true,
    loaded: false,
    legacy: false,
    logo_url: null,
    source_repo: null,
    source_repo_name: null,
    is_official_repo: false,
    slug: '',
    is_managed: false,
    installed_version_is_prerelease: false,
    update_available: false,
    latest_version: null,
    deprecated: false,
  });
});

test('a plugin that is gone can be deleted, and nothing else', async () => {
  const cases: [string, unknown, number, string][] = [
    ['plugins/fleeting/run/', { action: 'x' }, 500, "Plugin 'fleeting' not found"],
    ['plugins/fleeting/enabled/', { enabled: false }, 404, 'Plugin not found'],
    ['plugins/fleeting/settings/', { settings: {} }, 400, 'PluginConfig matching query does not exist.'],
  ];
  for (const [path, body, status, error] of cases) {
    const answer = await ask('POST', path, body);
    expect([path, answer.status, answer.body]).toEqual([path, status, { success: false, error }]);
  }
  expect((await ask('DELETE', 'plugins/fleeting/delete/')).body).toEqual({ success: true });
  expect(await list()).toHaveLength(2);
  expect((await ask('POST', 'plugins/fleeting/run/', { action: 'x' })).status).toBe(404);
});

test('what is wrong with an archive is said in the words of the host', async () => {
  const cases: [string, Buffer, string][] = [
    ['no archive', Buffer.from('x'), 'Invalid zip file'],
    ['nothing in it', zip([]), 'Archive is empty'],
    ['a way out', zip([{ name: '../plugin.py', content: CODE }]), 'Unsafe path in archive'],
    [
      'too much in it',
      zipOf({ 'plugin.py': CODE, a: 'x'.repeat(12_000), b: 'x'.repeat(12_000) }),
      'Archive is too large',
    ],
    [
      'too many files',
      zipOf(Object.fromEntries(Array.from({ length: 10_001 }, (_, at) => [`${at}`, '']))),
      'Archive has too many files',
    ],
    ['no plugin', zipOf({ 'readme.txt': 'x' }), 'Invalid plugin: missing plugin.py or package __init__.py'],
    ['one that is a folder', zipOf({ 'a third/plugin.py': CODE }), "Plugin 'a_third' already exists"],
  ];
  for (const [what, bytes, error] of cases) {
    const { status, body } = await send(bytes);
    expect([what, status, body]).toEqual([what, 400, { success: false, error }]);
  }
  const heavy = await send(Buffer.alloc(2_000_001));
  expect([heavy.status, heavy.headers.get('isopod-error-code')]).toEqual([413, 'payload_too_large']);
  const over = await send(Buffer.alloc(4_000_000));
  expect([over.status, over.headers.get('connection')]).toEqual([413, 'close']);
  // Of what was refused nothing is left.
  expect(await list()).toHaveLength(2);
});

test('what came from a repository does not any more when another archive takes its place', async () => {
  const archive = zipOf({ 'plugin.py': CODE, 'plugin.json': '{"version": "1"}' });
  expect((await send(archive, { name: 'came.zip' })).body).toMatchObject({
    plugin: { key: 'came', version: '1' },
    was_managed: false,
  });
  const { store } = service.service.parts;
  const source = { repo: 7, slug: 'came', version: '1', isPrerelease: true, isDeprecated: false };
  await store.of('default').pluginStates.knowSource('came', 'dispatcharr', source);
  const managed = { is_managed: true, slug: 'came', source_repo: 7, installed_version_is_prerelease: true };
  await expect
    .poll(async () => (await list()).find(({ key }: { key: string }) => key === 'came'))
    .toMatchObject(managed);

  const next = zipOf({ 'plugin.py': CODE, 'plugin.json': '{"version": "2"}' });
  for (const overwrite of ['true', '1', 'Yes', 'on']) {
    const { body } = await send(next, { name: 'came.zip', overwrite });
    expect(body).toMatchObject({
      success: true,
      plugin: { version: '2', is_managed: false, slug: '' },
      was_managed: overwrite === 'true',
    });
  }
  for (const overwrite of ['', '0', 'false', 'no', 'off', 'anything']) {
    const { status, body } = await send(next, { name: 'came.zip', overwrite });
    expect([overwrite, status, body.error]).toEqual([overwrite, 400, "Plugin 'came' already exists"]);
  }
});

test('what the code of a plugin has told outlives what is found of its folder', async () => {
  const { pluginStates } = service.service.parts.store.of('default');
  const told = portrait({ name: 'Told' });
  const known = async () => (await pluginStates.get('a_third')).known;
  await pluginStates.knowLoaded('a_third', { dialect: 'dispatcharr', portrait: told });
  await pluginStates.knowFound('a_third', { dialect: 'dispatcharr', portrait: null });
  expect(await known()).toMatchObject({ isLoaded: true, portrait: told });
  await pluginStates.knowFound('a_third', { dialect: 'stash', portrait: null });
  expect(await known()).toMatchObject({ isLoaded: false, portrait: null });
});

test('what is left out of a manifest is told to its author by our own API alone, and not any more when it is mended', async () => {
  const file = join(resolve(service.config.pluginsDir), 'dispatcharr', 'B second', 'plugin.json');
  const shown = async () => (await list()).find(({ key }: { key: string }) => key === 'b_second');
  const before = await shown();
  const warnings = async (text: string) => {
    await writeFile(file, text);
    await service.fetch('/v1/plugins/reload', { method: 'POST' });
    const { body } = await service.get('/v1/plugins/b_second');
    const { plugins } = (await service.get('/v1/plugins')).body;
    expect(plugins.find(({ id }: { id: string }) => id === 'b_second').warnings).toEqual(body.warnings);
    return body.warnings;
  };
  expect(await warnings('')).toEqual(['plugin.json: all of it is left out: it is empty']);
  expect(await warnings('{\n"name": }')).toEqual([
    `plugin.json: all of it is left out: it is no JSON (Unexpected token '}', "{ "name": }" is not valid JSON)`,
  ]);
  expect(await shown()).toEqual(before);
  const fields = [{ id: 'a', label: 'A', type: 'string' }, { id: 'port\u001b', type: 'integer' }, 'b'];
  expect(await warnings(JSON.stringify({ fields, actions: [{ label: 'Run' }] }))).toEqual([
    'plugin.json: fields[1] ("port") is left out: its type is none of string, number, boolean, select, text, info',
    'plugin.json: fields[2] is left out: it is no object',
    'plugin.json: actions[0] ("Run") is left out: its id is missing',
  ]);
  expect((await shown()).fields).toEqual([expect.objectContaining({ id: 'a' })]);
  expect(await warnings('{}')).toEqual([]);
});

test('events are kept where the tenant has them kept', async () => {
  await service.ask('PATCH', '/v1/hooks', { body: { paused: true } });
  const { body } = await ask('POST', 'events/', { name: 'channel_start', payload: {} });
  expect(body).toEqual({ success: true, delivered: [], note: 'It is kept until events are no longer paused' });
  expect((await service.get('/v1/hooks')).body.held).toBe(1);
  await service.ask('PATCH', '/v1/hooks', { body: { paused: false } });
  for (const wrong of [
    {},
    { name: '' },
    { name: 7 },
    { name: 'channel_start', payload: [] },
    { name: 'channel_start', payload: null },
  ]) {
    expect([wrong, (await ask('POST', 'events/', wrong)).status]).toEqual([wrong, 400]);
  }
});

test('a key that no plugin of this host has is nothing to delete, whoever else has it', async () => {
  const { store } = service.service.parts;
  const { pluginStates } = store.of('default');
  // Of another format, and its manifest is refused just now.
  await pluginStates.replace('stash_one', { a: 1 });
  await pluginStates.knowFound('stash_two', { dialect: 'stash', portrait: null });
  // One of ours had its name once.
  await store
    .of('default')
    .packages.install(
      { bytes: Buffer.from('x'), sha256: hash('sha256', 'x'), treeHash: hash('sha256', 'x'), unpackedBytes: 1 },
      [{ plugin: 'stash_three', dialect: 'stash', manifest: 'x.yml' }],
      { unpackedMost: 1_000_000, overwrite: true },
    );
  await pluginStates.knowFound('stash_three', { dialect: 'dispatcharr', portrait: null });
  await expect.poll(async () => (await list()).map(({ key }: { key: string }) => key)).toContain('stash_three');
  for (const key of ['a%00b', 'stash_one', 'stash_two', 'stash_three']) {
    const { status, body } = await ask('DELETE', `plugins/${key}/delete/`);
    expect([key, status, body]).toEqual([key, 200, { success: true }]);
  }
  const kept = await pluginStates.all();
  expect(['stash_one', 'stash_two', 'stash_three'].filter((key) => kept.has(key))).toHaveLength(3);
});
