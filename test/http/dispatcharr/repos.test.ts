// Repositories as a front end of Dispatcharr asks for them: a real server that has them, a real database, real signatures.
// What installs archives is a stand-in here.
import { strict as assert } from 'node:assert';
import { hash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify from 'fastify';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { Failure } from '../../../src/core/failure.ts';
import type { Plugin } from '../../../src/core/plugin.ts';
import type { PluginState } from '../../../src/core/store.ts';
import { Hub, type HubOptions } from '../../../src/engine/hub/hub.ts';
import { Notary } from '../../../src/engine/hub/notary.ts';
import type { Tenancy } from '../../../src/engine/tenancy.ts';
import { GuardedFetcher } from '../../../src/gateway/egress/fetcher.ts';
import { AnswerBudget } from '../../../src/http/answer-budget.ts';
import type { App } from '../../../src/http/app.ts';
import { repos } from '../../../src/http/dispatcharr/repos.ts';
import { Store } from '../../../src/store/store.ts';
import { type Answer, ask } from '../../support/client.ts';
import { testDatabase } from '../../support/databases.ts';
import { plugin } from '../../support/fake.ts';
import { pythonDumps, TestKey } from '../../support/gpg.ts';
import { RepoServer } from '../../support/repo-server.ts';

const scope = new AsyncDisposableStack();
const ARCHIVE_BYTES = 10_000;
let store: Store;
let server: RepoServer;
let key: TestKey;
let hub: Hub;
let base: string;
let tenants = 0;
let tenant: string;
let installs: Parameters<HubOptions['installer']['install']>[3][] = [];
/** What the next archive turns out to have. */
let next: Plugin | Failure;
const plugins = new Map<string, Plugin>();
let states: ReadonlyMap<string, PluginState> = new Map();

beforeAll(async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'isopod-repos-'));
  scope.defer(() => rm(dataDir, { recursive: true, force: true }));
  store = scope.use(await Store.open({ url: scope.use(await testDatabase()).url, dataDir }));
  server = scope.use(await RepoServer.start());
  key = scope.use(new TestKey());
  hub = new Hub({
    store,
    tenancies: {
      async learn(id) {
        states = await store.of(id).pluginStates.all();
      },
    },
    installer: {
      install: async (_tenant, archive, _signal, options) => {
        installs.push(options);
        if (next instanceof Failure) throw next;
        if (!options.overwrite && plugins.has(next.id)) throw thereAlready(next.id);
        plugins.set(next.id, next);
        return { plugins: [next], sha256: hash('sha256', archive), bytes: archive.length, replaced: [], changed: true };
      },
    },
    fetcher: new GuardedFetcher({ hosts: [`127.0.0.1:${server.port}`], ranges: ['127.0.0.0/8'], ours: () => [] }),
    notary: scope.use(new Notary()),
    version: '0.31.0',
    archiveBytes: ARCHIVE_BYTES,
  });
  const app = fastify({ ajv: { customOptions: { coerceTypes: false } } }) as unknown as App;
  scope.defer(() => app.close());
  app.addHook('onRequest', async (request) => {
    request.tenant = String(request.headers.tenant ?? tenant);
    request.tenancy = tenancyOf(request.tenant);
  });
  app.setErrorHandler((error, _request, reply) => {
    const { code } = Failure.from(error);
    return reply.code(code === 'concurrency_limited' ? 429 : 500).send({ detail: code });
  });
  await app.register(
    async (inside) =>
      repos(inside as unknown as App, {
        hub,
        answers: new AnswerBudget(),
        viewOf: async (_request, id) => ({ key: id, enabled: false }),
      }),
    { prefix: '/api/plugins' },
  );
  base = `${await app.listen({ port: 0, host: '127.0.0.1' })}/api/plugins/repos/`;
});
afterAll(() => scope.disposeAsync());

beforeEach(async () => {
  for (const { id } of await store.tenants.list()) if (id !== 'default') await store.tenants.remove(id);
  tenants += 1;
  tenant = `tenant-${tenants}`;
  await store.tenants.create(tenant);
  server.files.clear();
  server.asked.splice(0);
  plugins.clear();
  installs = [];
  states = new Map();
  next = plugin({ id: 'my_plugin', dialect: 'dispatcharr', version: '1.0.0' });
});

function tenancyOf(id: string): Tenancy {
  const tenancy = {
    id,
    catalogue: { plugins: plugins },
    get configured() {
      return states.keys();
    },
    state: (name: string) => states.get(name),
    portrait: ({ version }: Plugin) => ({ version: version ?? '' }),
  };
  return tenancy as unknown as Tenancy;
}

/** As the installer says it. */
function thereAlready(id: string): Failure {
  return new Failure('conflict', 'There is one', { where: [{ at: id, problem: 'is there already' }] });
}

function send(method: string, path: string, body?: unknown, headers = {}): Promise<Answer> {
  const json = body === undefined ? {} : { 'content-type': 'application/json' };
  return ask(base + path, {
    method,
    headers: { ...json, ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

const listed = {
  slug: 'my-plugin',
  name: 'My Plugin',
  latest_version: '1.0.0',
  latest_url: 'my-plugin-1.0.0.zip',
  manifest_url: 'my-plugin.json',
  tags: ['kept as it is'],
};

function manifest(more: object = {}) {
  return { registry_name: 'Things', root_url: server.at('/files/'), plugins: [listed], ...more };
}

function signed(inner: object, by = key): string {
  const [canonical] = pythonDumps([JSON.stringify(inner)]);
  return JSON.stringify({ manifest: inner, signature: by.sign(`${canonical}\n`) });
}

async function added(body: string, publicKey = '', path = '/manifest.json'): Promise<number> {
  const answer = await send('POST', '', { url: server.at(path, body), public_key: publicKey });
  assert.equal(answer.status, 201, answer.text);
  return answer.body.id;
}

const errorOf = ({ status, body }: Answer) => [status, body.error];

test('a repository is added, listed, changed, refreshed and removed', async () => {
  const url = server.at('/manifest.json', JSON.stringify(manifest({ registry_url: 'https://github.com/a/b/' })));
  const { status, body: repo } = await send('POST', '', { url });
  expect(status).toBe(201);
  expect(repo).toEqual({
    id: 1,
    name: 'Things',
    url,
    is_official: false,
    enabled: true,
    public_key: '',
    signature_verified: null,
    registry_url: 'https://github.com/a/b',
    plugin_count: 1,
    last_fetched: expect.stringMatching(/^\d{4}-.*Z$/),
    last_fetch_status: '200',
    created_at: expect.any(String),
    updated_at: expect.any(String),
  });
  expect((await send('GET', '')).body).toEqual([repo]);
  expect(errorOf(await send('POST', '', { url }))).toEqual([400, 'There is a repository of this URL already']);

  const put = await send('PUT', '1/', { enabled: 'false', name: 'Official', url: 'http://x/', is_official: true });
  expect(put).toMatchObject({ status: 200, body: { enabled: false, name: 'Things', url, is_official: false } });
  expect((await send('PUT', '1/', { enabled: 'maybe' })).body).toEqual({ enabled: ['Must be a valid boolean.'] });
  expect((await send('GET', 'available/')).body).toEqual({ plugins: [] });

  server.at('/manifest.json', JSON.stringify(manifest({ registry_name: 'More', plugins: [] })));
  expect(await send('POST', '1/refresh/')).toMatchObject({ status: 200, body: { name: 'More', plugin_count: 0 } });
  server.at('/manifest.json', (_, response) => void response.writeHead(503).end());
  expect(errorOf(await send('POST', '1/refresh/'))).toEqual([502, '127.0.0.1 answers with the status 503']);
  expect((await send('GET', '')).body).toMatchObject([{ name: 'More', last_fetch_status: '503' }]);

  // Of another tenant it is as if it did not exist.
  await store.tenants.create(`${tenant}-b`);
  for (const [method, path] of [
    ['PUT', ''],
    ['DELETE', ''],
    ['POST', 'refresh/'],
  ] as const) {
    const body = method === 'PUT' ? {} : undefined;
    const theirs = await send(method, `1/${path}`, body, { tenant: `${tenant}-b` });
    const nobodys = await send(method, `99/${path}`, body);
    expect([theirs.status, theirs.text]).toEqual([404, nobodys.text]);
  }
  expect((await send('DELETE', '1/')).body).toEqual({ success: true });
  expect((await send('DELETE', '1/')).status).toBe(404);
  // Its id is nobody's again: what was installed from it would seem to be of another.
  expect(await added(JSON.stringify(manifest()))).toBe(2);
});

test('what is no repository, or calls itself official, is refused and nothing is kept', async () => {
  for (const url of [undefined, null, 5, '', 'ftp://x/', 'hello']) {
    expect([url, (await send('POST', '', { url })).body]).toEqual([url, { url: [expect.any(String)] }]);
  }
  const refused = async (file: string | Buffer) => (await send('POST', '', { url: server.at('/m', file) })).body.error;
  expect(await refused('no JSON')).toMatch(/no JSON/);
  expect(await refused(Buffer.from([0x22, 0xff, 0x22]))).toMatch(/UTF-8/);
  expect(await refused('[]')).toMatch(/no JSON object/);
  expect(await refused('{"plugins":{}}')).toMatch(/no list "plugins"/);
  expect(await refused('{"plugins":[]}')).toMatch(/registry_name/);
  expect(await refused(`{"registry_name":"A","plugins":${'['.repeat(500)}${']'.repeat(500)}}`)).toMatch(/deeper/);
  for (const name of ['The OFFICIAL one', 'Dispatcharr  Plugins', 'ｄｉｓｐａｔｃｈａｒｒ repo', 'of\u200bficial']) {
    expect(await refused(JSON.stringify(manifest({ registry_name: name })))).toMatch(/taken for the official one/);
  }
  const large = JSON.stringify(manifest({ more: 'x'.repeat(1_100_000) }));
  expect(await refused(large)).toMatch(/more than 1048576 bytes/);
  expect((await send('GET', '')).body).toEqual([]);

  const elsewhere = await send('POST', '', { url: 'https://plugins.example.com/manifest.json' });
  expect(elsewhere.status).toBe(400);
  expect(elsewhere.body.error).toMatch(/from plugins\.example\.com.*dispatcharr\.repos/);
});

test('a preview tells what would come of it, whatever that is', async () => {
  const url = server.at('/manifest.json', signed(manifest()));
  const fine = {
    valid: true,
    registry_name: 'Things',
    registry_url: '',
    signature_verified: true,
    plugin_count: 1,
    errors: [],
  };
  const preview = async (body: object) => (await send('POST', 'preview/', body)).body;
  expect(await preview({ url, public_key: key.publicKey })).toEqual(fine);
  expect(await preview({ url })).toEqual({ ...fine, signature_verified: null });
  using other = new TestKey();
  expect(await preview({ url, public_key: other.publicKey })).toMatchObject({
    valid: false,
    signature_verified: false,
  });
  await added(signed(manifest()));
  expect((await preview({ url })).errors).toEqual(['There is a repository of this URL already']);
  expect(await preview({ url: server.at('/none') })).toEqual({ valid: false, errors: [expect.stringMatching(/404/)] });
  expect(await preview({ url: 'http://169.254.169.254/' })).toMatchObject({ valid: false });
  expect((await send('POST', 'preview/', {})).status).toBe(400);
});

test('where a key is set, only what is signed with it is taken', async () => {
  const { publicKey } = key;
  const refused = async (file: string) => {
    const answer = await send('POST', '', { url: server.at('/manifest.json', file), public_key: publicKey });
    return [answer.status, answer.body.error];
  };
  using other = new TestKey();
  const unsigned = [400, 'The manifest is not signed with the key that is set for it'];
  expect(await refused(JSON.stringify(manifest()))).toEqual(unsigned);
  expect(await refused(signed(manifest(), other))).toEqual(unsigned);
  // Without the lines around it, as some paste it.
  const bare = publicKey.replace(/-----.*-----\n*/g, '');
  const plugins = [{ ...listed, latest_sha256: hash('sha256', 'zip') }];
  const id = await added(signed(manifest({ plugins })), bare);
  expect((await send('GET', '')).body).toMatchObject([{ signature_verified: true, last_fetch_status: '200' }]);

  // What is not signed does not take the place of what was.
  server.at('/manifest.json', signed(manifest({ registry_name: 'Evil' }), other));
  expect(errorOf(await send('POST', `${id}/refresh/`))).toEqual(unsigned);
  expect((await send('GET', '')).body).toMatchObject([
    { name: 'Things', signature_verified: true, last_fetch_status: 'rejected' },
  ]);

  // Another key judges what is there already, and nothing that it does not confirm is installed.
  const install = {
    repo_id: id,
    slug: 'my-plugin',
    version: '1.0.0',
    download_url: server.at('/files/my-plugin-1.0.0.zip', 'zip'),
  };
  expect((await send('PUT', `${id}/`, { public_key: other.publicKey })).body.signature_verified).toBe(false);
  expect((await send('POST', 'install/', install)).status).toBe(400);
  expect((await send('PUT', `${id}/`, { public_key: publicKey })).body.signature_verified).toBe(true);
  expect((await send('POST', 'install/', install)).status).toBe(201);
  expect((await send('PUT', `${id}/`, { public_key: '' })).body).toMatchObject({
    public_key: '',
    signature_verified: null,
  });
});

test('only what is signed is read of what is signed', async () => {
  const { publicKey } = key;
  const about = JSON.parse(signed({ slug: 'my-plugin', registry_name: 'Signed', versions: [] }));
  const around = JSON.stringify({ ...about, ...manifest({ registry_name: 'Mine' }) });
  const url = server.at('/manifest.json', around);
  const refused = [400, 'The manifest is not signed with the key that is set for it'];
  expect(errorOf(await send('POST', '', { url, public_key: publicKey }))).toEqual(refused);
  expect((await send('POST', 'preview/', { url, public_key: publicKey })).body).toMatchObject({ valid: false });
  // Nor is it taken for signed later.
  const id = await added(around);
  expect((await send('PUT', `${id}/`, { public_key: publicKey })).body.signature_verified).toBe(false);
  // Without anything around it, it is still no repository.
  server.at('/manifest.json', JSON.stringify(about));
  expect((await send('POST', `${id}/refresh/`)).body.error).toMatch(/no list "plugins"/);
});

test('what is offered has whole addresses, and says what of it is there', async () => {
  const more = [
    {
      slug: 'other',
      latest_url: 'https://elsewhere.example/o.zip',
      icon_url: 'javascript:alert(1)',
      latest_version: '2',
    },
    { slug: '../evil' },
    'no plugin',
  ];
  const urls = {
    download_base_url: server.at('/files'),
    metadata_base_url: server.at('/about'),
    registry_url: 'https://github.com/a/b',
  };
  const id = await added(JSON.stringify(manifest({ ...urls, plugins: [listed, ...more] })));
  const { body } = await send('GET', 'available/');
  expect(body.plugins).toEqual([
    {
      ...listed,
      latest_url: server.at('/files/my-plugin-1.0.0.zip'),
      manifest_url: server.at('/about/my-plugin.json'),
      icon_url: server.at('/about/logo.png'),
      repo_id: id,
      repo_name: 'Things',
      is_official_repo: false,
      signature_verified: null,
      installed: false,
      installed_version: null,
      installed_version_is_prerelease: false,
      install_status: 'not_installed',
      key: 'my_plugin',
    },
    expect.objectContaining({
      slug: 'other',
      latest_url: 'https://elsewhere.example/o.zip',
      icon_url: `${server.at('/about')}/javascript:alert(1)`,
      key: 'other',
    }),
  ]);
  plugins.set('other', plugin({ id: 'other', dialect: 'dispatcharr', version: '1' }));
  const [, other] = (await send('GET', 'available/')).body.plugins;
  expect(other).toMatchObject({ installed: true, installed_version: '1', install_status: 'unmanaged' });
});

test('what all repositories offer together is as long as an answer may be', async () => {
  const plugins = [{ ...listed, more: 'x'.repeat(1_000_000) }];
  for (let times = 0; times < 17; times += 1) await added(JSON.stringify(manifest({ plugins })), '', `/${times}.json`);
  expect((await send('GET', 'available/')).body.detail).toBe('overloaded');
  await send('PUT', '1/', { enabled: false });
  expect((await send('GET', 'available/')).body.plugins).toHaveLength(16);
});

test('a plugin is installed from where its repository says it is, and known to be from there', async () => {
  const archive = Buffer.from('an archive');
  const download_url = server.at('/files/my-plugin-1.0.0.zip', archive);
  const entry = { ...listed, latest_sha256: hash('sha256', archive).toUpperCase(), min_dispatcharr_version: 'v0.20' };
  const id = await added(JSON.stringify(manifest({ plugins: [entry] })));
  const order = { repo_id: id, slug: 'my-plugin', version: '1.0.0', download_url };
  const first = await send('POST', 'install/', { ...order, sha256: '' });
  expect(first).toMatchObject({ status: 201, body: { success: true, plugin: { key: 'my_plugin', enabled: false } } });
  expect(installs).toEqual([{ dialect: 'dispatcharr', name: 'my-plugin.zip', overwrite: false }]);
  // As a form has it.
  const again = await send('POST', 'install/', { ...order, repo_id: String(id), prerelease: 'false' });
  expect(again.status).toBe(200);

  const sourceOf = () => states.get('my_plugin')?.known?.source ?? null;
  const origin = async () => {
    const source = sourceOf();
    return source && (await hub.origins({ id: tenant }))(source);
  };
  expect(sourceOf()).toEqual({
    repo: id,
    slug: 'my-plugin',
    version: '1.0.0',
    isPrerelease: false,
    isDeprecated: false,
  });
  const from = { name: 'Things', isOfficial: false };
  expect(await origin()).toEqual({ ...from, latestVersion: '1.0.0', updateAvailable: false, isDeprecated: false });
  const available = async () => (await send('GET', 'available/')).body.plugins[0].install_status;
  expect(await available()).toBe('installed');
  const newer = { ...entry, latest_version: '1.1.0', deprecated: true };
  server.at('/manifest.json', JSON.stringify(manifest({ plugins: [newer] })));
  await send('POST', `${id}/refresh/`);
  expect(await origin()).toEqual({ ...from, latestVersion: '1.1.0', updateAvailable: true, isDeprecated: true });
  expect(await available()).toBe('update_available');
  await send('POST', 'install/', { ...order, version: '1.1.0', prerelease: true });
  expect(sourceOf()).toMatchObject({ version: '1.1.0', isPrerelease: true, isDeprecated: true });
  expect(await origin()).toMatchObject({ updateAvailable: false });

  // Another repository has it, too.
  const other = await added(JSON.stringify(manifest({ registry_name: 'Zother' })), '', '/other.json');
  const [, theirs] = (await send('GET', 'available/')).body.plugins;
  expect(theirs).toMatchObject({
    repo_id: other,
    install_status: 'different_repo',
    installed_source_repo_name: 'Things',
  });
  // What its repository drops is nobody's.
  server.at('/manifest.json', JSON.stringify(manifest({ plugins: [] })));
  await send('POST', `${id}/refresh/`);
  expect(sourceOf()).toBeNull();
  await send('POST', 'install/', { ...order, repo_id: other, slug: 'my-plugin' });
  expect(sourceOf()).toMatchObject({ repo: other });
  await send('DELETE', `${other}/`);
  expect(sourceOf()).toBeNull();
});

test('older versions come from the manifest of the plugin, which is fetched once and signed as well', async () => {
  const old = Buffer.from('an old archive');
  const versions = [
    { version: '0.9', url: 'my-plugin-0.9.zip', checksum_sha256: hash('sha256', old) },
    { version: '0.8', url: 'my-plugin-0.8.zip', min_dispatcharr_version: '9.0', sha256: hash('sha256', old) },
    { version: '0.7', url: 'my-plugin-0.7.zip' },
  ];
  const detail = { slug: 'my-plugin', versions, latest: { version: '1.0.0', url: 'my-plugin-1.0.0.zip' } };
  const manifest_url = server.at('/files/my-plugin.json', signed(detail));
  const id = await added(signed(manifest()), key.publicKey);
  const { status, body } = await send('POST', 'plugin-detail/', { repo_id: id, manifest_url });
  expect([status, body.signature_verified]).toEqual([200, true]);
  expect(body.manifest.versions[0]).toEqual({ ...versions[0], url: server.at('/files/my-plugin-0.9.zip') });
  expect(body.manifest.latest.url).toBe(server.at('/files/my-plugin-1.0.0.zip'));

  const order = {
    repo_id: id,
    slug: 'my-plugin',
    version: '0.9',
    download_url: server.at('/files/my-plugin-0.9.zip', old),
  };
  expect((await send('POST', 'install/', order)).status).toBe(201);
  expect(server.asked.filter((path) => path === '/files/my-plugin.json')).toHaveLength(1);
  const tooNew = { ...order, version: '0.8', download_url: server.at('/files/my-plugin-0.8.zip', old) };
  expect(errorOf(await send('POST', 'install/', tooNew))[1]).toMatch(/for Dispatcharr 9\.0 and later/);

  const noHash = { ...order, version: '0.7', download_url: server.at('/files/my-plugin-0.7.zip', old) };
  expect(errorOf(await send('POST', 'install/', noHash))).toEqual([400, expect.stringMatching(/no SHA-256/)]);
  const newest = { ...order, version: '1.0.0', download_url: server.at('/files/my-plugin-1.0.0.zip', old) };
  const sha256 = hash('sha256', old);
  expect(errorOf(await send('POST', 'install/', { ...newest, sha256 }))).toEqual([
    400,
    expect.stringMatching(/no SHA-256/),
  ]);

  // What is signed of another plugin does not do, nor what stands around something that is.
  const aboutAnother = signed({ ...detail, slug: 'other' });
  const around = JSON.stringify({ ...JSON.parse(aboutAnother), ...detail });
  for (const [file, status, words] of [
    [aboutAnother, 400, /not about the plugin/],
    [signed({ versions }), 400, /not about the plugin/],
    [around, 400, /not about the plugin/],
    [JSON.stringify({ ...JSON.parse(signed(detail)), versions: [] }), 400, /not signed/],
  ] as const) {
    server.at('/files/my-plugin.json', file);
    await send('POST', `${id}/refresh/`);
    expect(errorOf(await send('POST', 'install/', order))).toEqual([status, expect.stringMatching(words)]);
  }

  // After a refresh it is asked for anew, and one that is not signed is shown, but not believed.
  server.at('/files/my-plugin.json', JSON.stringify(detail));
  await send('POST', `${id}/refresh/`);
  const shown = await send('POST', 'plugin-detail/', { repo_id: id, manifest_url });
  expect([shown.status, shown.body.signature_verified]).toEqual([200, false]);
  expect(errorOf(await send('POST', 'install/', order))).toEqual([400, expect.stringMatching(/not signed/)]);

  expect((await send('POST', 'plugin-detail/', { repo_id: id })).status).toBe(400);
  expect((await send('POST', 'plugin-detail/', { repo_id: 99, manifest_url })).status).toBe(404);
  const elsewhere = { repo_id: id, manifest_url: server.at('/files/other.json', '{}') };
  expect((await send('POST', 'plugin-detail/', elsewhere)).status).toBe(400);
  server.files.delete('/files/my-plugin.json');
  await send('POST', `${id}/refresh/`);
  expect((await send('POST', 'plugin-detail/', { repo_id: id, manifest_url })).status).toBe(502);
});

test('nothing is installed that is not what it should be', async () => {
  const archive = Buffer.from('an archive');
  const entry = { ...listed, manifest_url: '', latest_sha256: hash('sha256', archive) };
  const id = await added(JSON.stringify(manifest({ plugins: [entry] })));
  const download_url = server.at('/files/my-plugin-1.0.0.zip', archive);
  const order = { repo_id: id, slug: 'my-plugin', version: '1.0.0', download_url };
  const refused = async (change: object) => errorOf(await send('POST', 'install/', { ...order, ...change }));
  for (const name of Object.keys(order))
    expect(await refused({ [name]: '' })).toEqual([400, expect.stringMatching(/required/)]);
  expect(await refused({ repo_id: 99 })).toEqual([404, 'There is no such repository']);
  expect(await refused({ min_dispatcharr_version: '0.32' })).toEqual([400, expect.stringMatching(/0\.32 and later/)]);
  expect(await refused({ max_dispatcharr_version: '0.30.9' })).toEqual([
    400,
    expect.stringMatching(/0\.30\.9 and earlier/),
  ]);
  // No number: only the very same would do.
  expect(await refused({ max_dispatcharr_version: '0.99-beta' })).toEqual([400, expect.any(String)]);
  const notOffered = [400, expect.stringMatching(/does not offer/)];
  expect(await refused({ slug: 'other' })).toEqual(notOffered);
  expect(await refused({ version: '2.0.0' })).toEqual(notOffered);
  expect(await refused({ download_url: server.at('/files/other.zip', archive) })).toEqual(notOffered);
  expect(server.asked).toEqual(['/manifest.json']);
  expect(await refused({ sha256: '0'.repeat(64) })).toEqual([400, expect.stringMatching(/SHA-256/)]);
  server.at('/files/my-plugin-1.0.0.zip', Buffer.from('another archive'));
  expect(await refused({})).toEqual([400, expect.stringMatching(/SHA-256/)]);
  server.at('/files/my-plugin-1.0.0.zip', Buffer.alloc(ARCHIVE_BYTES + 1));
  expect(await refused({})).toEqual([502, expect.stringMatching(/more than 10000 bytes/)]);
  server.files.delete('/files/my-plugin-1.0.0.zip');
  expect(await refused({})).toEqual([502, expect.stringMatching(/404/)]);
  const away = 'http://169.254.169.254/latest.zip';
  server.at('/files/my-plugin-1.0.0.zip', (_, response) => void response.writeHead(302, { location: away }).end());
  expect(await refused({})).toEqual([400, expect.stringMatching(/169\.254\.169\.254/)]);
  expect(installs).toEqual([]);

  server.at('/files/my-plugin-1.0.0.zip', archive);
  next = new Failure('package_rejected', 'Archive is empty');
  expect(await send('POST', 'install/', order)).toMatchObject({
    status: 400,
    body: { success: false, error: 'Archive is empty' },
  });
});

test('an archive takes the place of what it is meant for, and of no other plugin', async () => {
  const id = await added(JSON.stringify(manifest()));
  const order = {
    repo_id: id,
    slug: 'my-plugin',
    version: '1.0.0',
    download_url: server.at('/files/my-plugin-1.0.0.zip', 'zip'),
  };
  plugins.set('other', plugin({ id: 'other', dialect: 'dispatcharr' }));
  next = plugin({ id: 'other', dialect: 'dispatcharr' });
  const refused = { status: 400, body: { success: false, error: "Plugin 'other' already exists" } };
  expect(await send('POST', 'install/', order)).toMatchObject(refused);
  // Also while what it is meant for is there.
  plugins.set('my_plugin', plugin({ id: 'my_plugin', dialect: 'dispatcharr' }));
  expect(await send('POST', 'install/', order)).toMatchObject(refused);
  expect(installs.map(({ overwrite }) => overwrite)).toEqual([false, false]);
  // What it was before may be called otherwise, as its folder is.
  next = plugin({ id: 'folder', dialect: 'dispatcharr' });
  expect((await send('POST', 'install/', order)).status).toBe(201);
  expect((await send('POST', 'install/', order)).status).toBe(200);
  expect(installs.at(-1)?.overwrite).toBe(true);
});

test('one archive of a tenant comes at a time', async () => {
  const id = await added(JSON.stringify(manifest()));
  const { promise: release, resolve } = Promise.withResolvers<void>();
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  const download_url = server.at('/files/my-plugin-1.0.0.zip', (_, response) => {
    begin();
    void release.then(() => response.end('an archive'));
  });
  const order = { repo_id: id, slug: 'my-plugin', version: '1.0.0', download_url };
  const first = send('POST', 'install/', order);
  await begun;
  expect((await send('POST', 'install/', order)).status).toBe(429);
  resolve();
  expect((await first).status).toBe(201);
});

test('repositories are refreshed when their time has come, by one node, unless that is off', async () => {
  const never = new AbortController().signal;
  const hours = async (value: unknown) => (await send('PUT', 'settings/', { refresh_interval_hours: value })).body;
  expect((await send('GET', 'settings/')).body).toEqual({ refresh_interval_hours: 6 });
  const id = await added(JSON.stringify(manifest()));
  server.asked.splice(0);
  const later = (ms: number) => new Date(Date.now() + ms);
  const HOUR = 3_600_000;
  expect(await hub.repositories.refreshDue(later(5.9 * HOUR), never)).toBe(0);
  expect(await hours(0)).toEqual({ refresh_interval_hours: 0 });
  expect(await hub.repositories.refreshDue(later(9_000 * HOUR), never)).toBe(0);
  expect(await hours('2')).toEqual({ refresh_interval_hours: 2 });
  // Whoever has it is not done before the other one has looked: by our clock, it was refreshed now.
  const { promise: looked, resolve: look } = Promise.withResolvers<void>();
  const fresh = JSON.stringify(manifest({ registry_name: 'Fresh' }));
  server.at('/manifest.json', (_, response) => void looked.then(() => response.end(fresh)));
  const both = [1, 2].map(() => hub.repositories.refreshDue(later(2.1 * HOUR), never));
  expect(await Promise.race(both)).toBe(0);
  look();
  expect((await Promise.all(both)).reduce((sum, one) => sum + one)).toBeGreaterThanOrEqual(1);
  expect(server.asked).toEqual(['/manifest.json']);
  expect((await send('GET', '')).body).toMatchObject([{ name: 'Fresh' }]);
  await send('PUT', `${id}/`, { enabled: false });
  expect(await store.duePluginRepos.claim(later(9_000 * HOUR), 10)).toEqual([]);
  expect(await hours('soon')).toEqual({ refresh_interval_hours: 6 });
  expect(await hours(-3)).toEqual({ refresh_interval_hours: 0 });
  expect(await hours(1e8)).toEqual({ refresh_interval_hours: 8_760 });
});
