// Archives of plugins over a socket: installed, run, replaced, removed.
import { strict as assert } from 'node:assert';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Scope } from '../../src/core/tenant.ts';
import type { Answer, TestService } from '../support/client.ts';
import { startTestService } from '../support/service.ts';
import { parsed, raw } from '../support/socket.ts';
import { zip, zipOf } from '../support/zip.ts';

let service: TestService & { folder: string };
beforeAll(async () => {
  const plain = { 'plain.yml': 'name: plain\ninterface: js\nexec: [plain.js]\n', 'plain.js': '({ Output: "plain" })' };
  service = await startTestService({
    plugins: { plain },
    config: { requestBytesAtOnce: 3_000_000, packages: { archiveBytes: 2_000_000 } },
  });
});
afterAll(() => service[Symbol.asyncDispose]());

const embedded = (id: string, output: string, version = '1') => ({
  [`${id}/${id}.yml`]: `name: ${id}\nversion: "${version}"\ninterface: js\nexec: [main.js]\n`,
  [`${id}/main.js`]: `({ Output: ${JSON.stringify(output)} });`,
});

/** Counts its runs in its own folder, and tells what else is there. */
const external = (id: string) => ({
  [`${id}.yml`]: `name: ${id}\ninterface: raw\nexec: [run.sh]\n`,
  'run.sh': [
    '#!/bin/sh',
    'cd "$(dirname "$0")"',
    'echo run >> runs',
    'echo "name: intruder" > intruder.yml',
    'echo "{\\"output\\": $(wc -l < runs)}"',
    '',
  ].join('\n'),
});

function install(archive: Buffer, headers: Record<string, string> = {}): Promise<Answer> {
  const body = new Uint8Array(archive);
  return service.fetch('/v1/plugins', {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/zip', ...headers },
  });
}

const remove = (plugin: string, query = '') => service.fetch(`/v1/plugins/${plugin}${query}`, { method: 'DELETE' });
const ids = async () => (await service.get('/v1/plugins')).body.plugins.map(({ id }: { id: string }) => id);

test('an archive with a folder of Python is a plugin that waits until it is trusted, and is called by its header', async () => {
  const archive = zipOf({ 'plugin.py': 'class Plugin: pass', 'plugin.json': '{"name":"Named"}' });
  const nameless = await install(archive);
  expect([nameless.status, nameless.body.code]).toEqual([422, 'package_rejected']);
  expect(nameless.body.detail).toMatch('Content-Disposition');
  const installed = await install(archive, { 'content-disposition': 'attachment; filename="My Python.zip"' });
  expect([installed.status, installed.body.plugins]).toEqual([
    201,
    [{ id: 'my_python', name: 'Named', version: null, dialect: 'dispatcharr', warnings: [] }],
  ]);
  expect((await service.get('/v1/plugins/my_python')).body.enabled).toBe(false);
  expect((await remove('my_python')).status).toBe(204);
});

test('an embedded plugin is installed, runs, is replaced and removed', async () => {
  const first = zipOf(embedded('hello', 'first'));
  const installed = await install(first);
  expect(installed.status).toBe(201);
  expect(installed.body).toEqual({
    plugins: [{ id: 'hello', name: 'hello', version: '1', dialect: 'stash', warnings: [] }],
    sha256: hash('sha256', first),
    bytes: first.length,
    replaced: [],
  });
  expect((await service.invoke('hello')).body.output).toBe('first');
  const { body } = await service.get('/v1/plugins/hello');
  expect(body.package).toMatchObject({ sha256: hash('sha256', first), bytes: first.length });
  expect(Date.parse(body.package.installedAt)).toBeGreaterThan(0);
  expect((await service.get('/v1/plugins/plain')).body.package).toBe(null);
  const { plugins } = (await service.get('/v1/plugins')).body;
  const { sha256, installedAt } = body.package;
  expect(plugins.map(({ id, package: cameIn }: Answer['body']) => [id, cameIn])).toEqual(
    expect.arrayContaining([
      ['hello', { sha256, installedAt }],
      ['plain', null],
    ]),
  );

  const again = await install(first, { 'content-type': 'application/octet-stream' });
  expect([again.status, again.body.replaced]).toEqual([200, []]);

  const second = await install(zipOf(embedded('hello', 'second', '2')));
  expect([second.status, second.body.replaced]).toEqual([201, ['hello']]);
  expect((await service.invoke('hello')).body.output).toBe('second');

  expect((await remove('hello')).status).toBe(204);
  expect((await service.invoke('hello')).status).toBe(404);
  expect((await remove('hello')).body.code).toBe('not_found');
});

test('an external plugin writes into a folder of its own, which lasts until its archive is another', async () => {
  const archive = zipOf(external('counter'));
  expect((await install(archive)).status).toBe(201);
  expect((await service.invoke('counter')).body.output).toBe(1);
  expect((await service.invoke('counter')).body.output).toBe(2);
  // What it has written next to its manifest is no plugin, now or later.
  await service.fetch('/v1/plugins/reload', { method: 'POST' });
  expect(await ids()).not.toContain('intruder');
  expect((await service.invoke('counter')).body.output).toBe(3);
  expect((await install(archive)).status).toBe(200);
  expect((await service.invoke('counter')).body.output).toBe(4);

  const copies = join(service.config.dataDir, 'tenants/default/packages');
  expect(await readdir(copies)).toEqual([hash('sha256', archive)]);
  const other = zipOf({ ...external('counter'), 'more.txt': 'another archive' });
  expect((await install(other)).body.replaced).toEqual(['counter']);
  await vi.waitFor(async () => expect(await readdir(copies)).toEqual([hash('sha256', other)]));
  expect((await service.invoke('counter')).body.output).toBe(1);
  await remove('counter');
  await vi.waitFor(async () => expect(await readdir(copies)).toEqual([]));
});

test('plugins of an archive whose others were replaced stay', async () => {
  await install(zipOf({ ...embedded('left', 'old'), ...embedded('right', 'old') }));
  expect((await install(zipOf(embedded('right', 'new')))).body.replaced).toEqual(['right']);
  expect((await service.invoke('left')).body.output).toBe('old');
  expect((await service.invoke('right')).body.output).toBe('new');
  for (const id of ['left', 'right']) expect((await remove(id)).status).toBe(204);
});

test('an archive that nobody uses any more is not kept', async () => {
  const { store } = service.service.parts;
  const archive = zipOf(embedded('brief', 'x'));
  await install(archive);
  const sha256 = Buffer.from(hash('sha256', archive), 'hex');
  expect((await store.bundles.get(sha256)).equals(archive)).toBe(true);
  await remove('brief');
  await assert.rejects(store.bundles.get(sha256), { code: 'not_found' });
});

describe('nothing is changed by', () => {
  const refusals: Record<string, { archive: Buffer; code: string; says: RegExp; at?: string }> = {
    'what is no archive': { archive: Buffer.from('hello'), code: 'package_rejected', says: /no zip archive/ },
    'a way out': {
      archive: zip([{ name: '../evil.yml', content: 'name: evil' }]),
      code: 'package_rejected',
      says: /leads out/,
      at: '../evil.yml',
    },
    'an archive without a manifest': {
      archive: zipOf({ 'readme.txt': 'hello' }),
      code: 'package_rejected',
      says: /must hold a Stash manifest, <id>\.yml/,
    },
    'a bad manifest beside a good one': {
      archive: zipOf({ ...embedded('good', 'x'), 'bad/bad.yml': 'name: x\nnmae: y' }),
      code: 'manifest_rejected',
      says: /bad\/bad\.yml:2:1/,
      at: 'bad/bad.yml:2:1',
    },
    'two plugins of one id': {
      archive: zipOf({ 'a/Same.yml': 'name: a', 'b/same.yml': 'name: b' }),
      code: 'manifest_rejected',
      says: /twice/,
      at: 'b/same.yml',
    },
    'the id of a plain folder': { archive: zipOf(embedded('PLAIN', 'x')), code: 'conflict', says: /plain folder/ },
    'nothing at all': { archive: Buffer.alloc(0), code: 'invalid_request', says: /empty/ },
  };
  test.each(Object.entries(refusals))('%s', async (_name, { archive, code, says, at }) => {
    const before = await ids();
    const answer = await install(archive);
    expect([answer.body.code, answer.body.detail]).toEqual([code, expect.stringMatching(says)]);
    if (at !== undefined) expect(answer.body.errors[0].pointer).toBe(at);
    await service.fetch('/v1/plugins/reload', { method: 'POST' });
    expect(await ids()).toEqual(before);
    expect(
      (await readdir(join(service.config.dataDir, 'cache')).catch(() => [])).filter((name) => name.startsWith('.')),
    ).toEqual([]);
  });
});

test('a plain folder that comes later counts, and the package is listed as refused', async () => {
  await install(zipOf(embedded('late', 'package')));
  const folder = join(service.folder, 'plugins/stash/plain');
  await writeFile(join(folder, 'LATE.yml'), 'name: late\ninterface: js\nexec: [plain.js]\n');
  await service.fetch('/v1/plugins/reload', { method: 'POST' });
  expect((await service.invoke('LATE')).body.output).toBe('plain');
  const { refused } = (await service.get('/v1/plugins')).body;
  expect(refused).toContainEqual(
    expect.objectContaining({
      file: expect.stringMatching(/\.zip\/late\/late\.yml$/),
      reason: expect.stringMatching(/LATE\.yml/),
    }),
  );
  expect((await remove('LATE')).body).toMatchObject({ code: 'conflict', status: 409 });
  expect((await remove('late')).status).toBe(204);
});

test('ids differ in more than case', async () => {
  await install(zipOf(embedded('cased', 'x')));
  expect((await install(zipOf(embedded('Cased', 'x')))).body).toMatchObject({ code: 'conflict' });
  await remove('cased');
});

test('a quota of bytes is the tenant’s', async () => {
  const { tenants } = service.service.parts.store;
  await tenants.update('default', { quotas: { storedBytes: 100 } });
  const { status, body } = await install(zipOf(embedded('greedy', 'x')));
  expect([status, body.code]).toEqual([429, 'quota_exceeded']);
  expect(body.limit).toMatchObject({ name: 'quotas.storedBytes', allowed: 100, unit: 'bytes' });
  await tenants.update('default', { quotas: { storedBytes: null } });
  expect(await ids()).not.toContain('greedy');
});

test('settings outlive a removal unless they are to be forgotten', async () => {
  const states = service.service.parts.store.of('default').pluginStates;
  const archive = zipOf(embedded('kept', 'x'));
  await install(archive);
  await states.replace('kept', { key: 1 });
  await remove('kept');
  expect((await states.get('kept')).settings).toEqual({ key: 1 });
  await install(archive);
  expect((await remove('kept', '?settings=forget')).status).toBe(204);
  expect((await states.get('kept')).settings).toEqual({});
  expect((await remove('kept', '?settings=maybe')).status).toBe(400);
});

test('what a plugin asks for comes in its archive, and what it was granted ends with it', async () => {
  const asking = { ...embedded('asking', 'x'), 'asking/asking.permissions.yaml': 'network: [api.example.com]\n' };
  const permissions = '/v1/plugins/asking/permissions';
  await install(zipOf(asking));
  expect((await service.get(permissions)).body).toMatchObject({ missing: { network: ['api.example.com'] } });
  await service.ask('PUT', permissions, { body: { network: ['api.example.com'] } });
  await install(zipOf({ ...asking, 'asking/main.js': '({ Output: "y" });' }));
  expect((await service.get('/v1/plugins/asking')).body.permissions).toBe('complete');
  await remove('asking');
  // Something else could come back under its name.
  await install(zipOf(asking));
  expect((await service.get(permissions)).body.granted.network).toEqual([]);
  expect((await service.get('/v1/plugins/asking')).body.permissions).toBe('missing');
  await remove('asking');
});

test('a manifest in the folder of a plugin, changed after it was installed, changes nothing', async () => {
  await install(zipOf(external('stubborn')));
  const copies = join(service.config.dataDir, 'tenants/default/packages');
  const { sha256 } = (await service.get('/v1/plugins/stubborn')).body.package;
  await writeFile(join(copies, sha256, 'stubborn.yml'), 'name: changed\ninterface: js\nexec: [x.js]\n');
  await service.fetch('/v1/plugins/reload', { method: 'POST' });
  expect((await service.get('/v1/plugins/stubborn')).body).toMatchObject({ name: 'stubborn', program: 'process' });
  await remove('stubborn');
});

test('a plugin of a strange name runs', async () => {
  const id = 'Ünï ..%2f\'"$(id)';
  await install(
    zipOf({
      [`${id}.yml`]: 'name: odd\ninterface: raw\nexec: [run.sh]\n',
      'run.sh': '#!/bin/sh\necho "{\\"output\\":1}"\n',
    }),
  );
  expect((await service.invoke(id)).body.output).toBe(1);
  expect((await remove(encodeURIComponent(id))).status).toBe(204);
});

describe('the body', () => {
  test('is an archive by its type, and nothing else here', async () => {
    const archive = zipOf(embedded('typed', 'x'));
    const json = await install(archive, { 'content-type': 'application/json' });
    expect([json.status, json.body.detail]).toEqual([415, expect.stringMatching(/must be a zip archive/)]);
    const invoked = await service.invoke('plain', '{}', '', { headers: { 'content-type': 'application/zip' } });
    expect([invoked.status, invoked.body.detail]).toEqual([415, expect.stringMatching(/must be JSON/)]);
  });

  test('may be larger than others, up to a limit of its own', async () => {
    const stored = (bytes: number) =>
      zip([
        { name: 'a.yml', content: 'name: a' },
        { name: 'b', content: Buffer.alloc(bytes), method: 0 },
      ]);
    expect((await install(stored(1_900_000))).status).toBe(201);
    await remove('a');
    const { status, body } = await install(stored(2_000_000));
    expect([status, body.code]).toEqual([413, 'payload_too_large']);
    expect(body.limit).toMatchObject({ name: 'packages.archiveBytes', allowed: 2_000_000, unit: 'bytes' });
  });

  const HEAD = 'POST /v1/plugins HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\nConnection: close\r\n';

  test('may come in pieces, as long as they are not too many', async () => {
    const archive = zipOf(embedded('pieces', 'x'));
    const chunked = async function* () {
      for (let at = 0; at < archive.length; at += 50) yield archive.subarray(at, at + 50);
    };
    const answer = await service.fetch('/v1/plugins', {
      method: 'POST',
      body: chunked() as never,
      duplex: 'half',
      headers: { 'content-type': 'application/zip' },
    } as RequestInit);
    expect(answer.status).toBe(201);
    await remove('pieces');
    const chunk = `80000\r\n${'x'.repeat(0x80000)}\r\n`;
    const { status, body } = parsed(
      await raw(service.url, `${HEAD}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(4)}`),
    );
    expect([status, body.code]).toEqual([413, 'payload_too_large']);
  });

  test('counts for what all bodies may take together, from its head until it is over or breaks off', async () => {
    const { port, hostname } = new URL(service.url);
    const socket = connect(Number(port), hostname);
    socket.write(`${HEAD}Content-Length: 1900000\r\nExpect: 100-continue\r\n\r\n`);
    expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1.1 100 /);
    const archive = zip([
      { name: 'a.yml', content: 'name: a' },
      { name: 'b', content: Buffer.alloc(1_500_000), method: 0 },
    ]);
    expect((await install(archive)).body.code).toBe('overloaded');
    socket.destroy();
    await vi.waitFor(async () => expect((await install(archive)).status).toBe(201), { timeout: 15_000 });
    await remove('a');
    expect(service.lines.filter((line) => line.includes('"internal"'))).toEqual([]);
  });
});

describe('with tenants', () => {
  const OPERATOR = 'the-operators-own';
  let one: TestService & { folder: string };
  /** Another node on the same database. */
  let other: TestService & { folder: string };
  beforeAll(async () => {
    one = await startTestService({ config: { tokens: [OPERATOR] } });
    const { databaseUrl } = one.config;
    other = await startTestService({ config: { tokens: [OPERATOR], databaseUrl } });
    for (const id of ['acme', 'beta']) await one.ask('POST', '/v1/tenants', { token: OPERATOR, body: { id } });
  });
  afterAll(async () => {
    await other[Symbol.asyncDispose]();
    await one[Symbol.asyncDispose]();
  });

  async function tokenOf(tenant: string, scope: Scope): Promise<string> {
    const body = { name: scope, scopes: [scope] };
    return (await one.ask('POST', `/v1/tenants/${tenant}/tokens`, { token: OPERATOR, body })).body.secret;
  }

  function put(at: TestService, token: string, archive: Buffer): Promise<Answer> {
    const headers = { 'content-type': 'application/zip', authorization: `Bearer ${token}` };
    return at.fetch('/v1/plugins', { method: 'POST', body: new Uint8Array(archive), headers });
  }

  const run = (at: TestService, token: string, id: string) =>
    at.ask('POST', `/v1/plugins/${id}/invocations`, { token, body: {} });

  test('only who may manage installs and removes', async () => {
    const [invoke, manage] = [await tokenOf('acme', 'invoke'), await tokenOf('acme', 'manage')];
    const archive = zipOf(embedded('guarded', 'x'));
    expect((await put(one, invoke, archive)).body.code).toBe('forbidden');
    expect((await put(one, 'nonsense', archive)).body.code).toBe('unauthenticated');
    expect((await put(one, manage, archive)).status).toBe(201);
    expect((await one.ask('DELETE', '/v1/plugins/guarded', { token: invoke })).body.code).toBe('forbidden');
    expect((await one.ask('DELETE', '/v1/plugins/guarded', { token: manage })).status).toBe(204);
  });

  test('what one has installed is not there for another, and their programs share nothing', async () => {
    const [acme, beta] = [await tokenOf('acme', 'manage'), await tokenOf('beta', 'manage')];
    const archive = zipOf(external('counter'));
    await put(one, acme, archive);
    const theirs = await one.ask('DELETE', '/v1/plugins/counter', { token: beta });
    const nothing = await one.ask('DELETE', '/v1/plugins/counted', { token: beta });
    expect([theirs.status, theirs.text]).toEqual([404, nothing.text.replaceAll('counted', 'counter')]);
    await put(one, beta, archive);
    expect((await run(one, acme, 'counter')).body.output).toBe(1);
    expect((await run(one, acme, 'counter')).body.output).toBe(2);
    expect((await run(one, beta, 'counter')).body.output).toBe(1);
    expect((await one.ask('DELETE', '/v1/plugins/counter', { token: beta })).status).toBe(204);
    expect((await run(one, acme, 'counter')).body.output).toBe(3);
    expect((await one.ask('DELETE', '/v1/plugins/counter', { token: acme })).status).toBe(204);
  });

  test('what is installed on one node runs on another, and is gone there when it is removed', async () => {
    const token = await tokenOf('acme', 'manage');
    const patience = { timeout: 15_000 };
    // Both have the tenant loaded before anything changes.
    for (const node of [one, other]) expect((await node.ask('GET', '/v1/plugins', { token })).status).toBe(200);
    await put(one, token, zipOf({ ...embedded('everywhere', 'first'), ...external('counter') }));
    await vi.waitFor(async () => expect((await run(other, token, 'everywhere')).body.output).toBe('first'), patience);
    // A copy for each node.
    for (const node of [one, other]) expect((await run(node, token, 'counter')).body.output).toBe(1);
    await put(other, token, zipOf(embedded('everywhere', 'second')));
    await vi.waitFor(async () => expect((await run(one, token, 'everywhere')).body.output).toBe('second'), patience);
    expect((await one.ask('DELETE', '/v1/plugins/everywhere', { token })).status).toBe(204);
    await vi.waitFor(async () => expect((await run(other, token, 'everywhere')).status).toBe(404), patience);
  });
});

test('50 MB of archive hold nobody up', async () => {
  await using large = await startTestService();
  const content = Buffer.alloc(51_000_000);
  for (let at = 0; at < content.length; at += 4) content.writeUInt32LE((at * 2_654_435_761) >>> 0, at);
  const archive = zip([
    { name: 'large.yml', content: 'name: large\ninterface: js\nexec: [main.js]\n' },
    { name: 'main.js', content: '({ Output: 1 })' },
    { name: 'data', content, method: 0 },
  ]);
  let done = false;
  const before = busyMs();
  const installing = large
    .fetch('/v1/plugins', {
      method: 'POST',
      body: new Uint8Array(archive),
      headers: { 'content-type': 'application/zip' },
    })
    .finally(() => {
      done = true;
    });
  let slowest = 0;
  while (!done) {
    const since = busyMs();
    expect((await large.get('/healthz')).status).toBe(200);
    slowest = Math.max(slowest, busyMs() - since);
  }
  expect((await installing).status).toBe(201);
  expect((await large.invoke('large')).body.output).toBe(1);
  expect(busyMs()).toBeGreaterThan(before);
  expect(slowest).toBeLessThan(250);
});

/** How long this thread, which the service and its client share, has been busy. */
function busyMs(): number {
  const [ns = '0'] = readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ');
  return Number(ns) / 1e6;
}
