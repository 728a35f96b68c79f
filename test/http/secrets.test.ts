// Settings that are not for everybody to see: how they are kept, and who is shown what.
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { FormField } from '../../src/core/portrait.ts';
import { MASK } from '../../src/engine/vault.ts';
import type { Answer } from '../support/client.ts';
import { all } from '../support/egress.ts';
import { type FakeService, plugin, portrait, resident, startFakeService } from '../support/fake.ts';
import { dataOf } from '../support/stash.ts';

const SECRET = 'correct horse battery staple';
const field = (id: string, input_type?: string): FormField => ({
  id,
  type: 'string',
  ...(input_type && { input_type }),
});
const form = portrait({ fields: [field('host'), field('password', 'password'), field('pin', 'password')] });

let service: FakeService;
beforeAll(async () => {
  const declared = { key: 'password', type: 'STRING', displayName: '', description: '' } as const;
  service = await startFakeService({
    plugins: [
      resident({ portrait: form }),
      resident({ id: 'legacy', portrait: null }),
      plugin({ settings: [declared] }),
    ],
  });
});
afterAll(() => service[Symbol.asyncDispose]());

const URL = '/v1/plugins/stays/settings';

function ask(method: string, body?: unknown, headers: Record<string, string> = {}, url = URL): Promise<Answer> {
  return service.ask(method, url, { body, headers });
}

const states = () => service.service.parts.store.of('default').pluginStates;

/** What the plugin itself finds. */
async function desk(id = 'stays') {
  await service.ask('POST', `/v1/plugins/${id}/enable`);
  return await vi.waitFor(() => service.runtime.residents.desk(id));
}

/** The rows of all settings, and of all that is remembered, as the database has them. */
async function rows(): Promise<string> {
  const client = new pg.Client(service.databaseUrl);
  await client.connect();
  const { rows } = await client
    .query('select plugin_states::text as row from plugin_states')
    .finally(() => client.end());
  return rows.map(({ row }) => row).join('\n');
}

async function dump(): Promise<string> {
  const file = join(service.config.dataDir, 'dump.gz');
  await service.service.parts.store.backup(file);
  return gunzipSync(await readFile(file)).toString();
}

test('a secret is in clear nowhere but where the plugin asks for it', async () => {
  const key = join(service.config.dataDir, 'secrets.key');
  await expect(stat(key)).rejects.toThrow('ENOENT');
  const settings = { host: 'nas', password: SECRET, other: [{ any: null }], pin: '' };
  const put = await ask('PUT', settings);
  const shown = { host: 'nas', password: MASK, other: [{ any: null }], pin: '' };
  expect([put.status, put.body]).toEqual([200, shown]);
  const got = await ask('GET');
  expect([got.body, got.headers.get('etag')]).toEqual([shown, put.headers.get('etag')]);
  expect((await dataOf(service, '{ configuration { plugins } }')).configuration.plugins).toEqual({ stays: shown });

  expect((await desk()).settings()).toEqual(settings);
  expect((await desk()).secrets()).toEqual([SECRET]);
  expect((await stat(key)).mode & 0o777).toBe(0o600);
  for (const text of [await rows(), await dump()]) {
    expect(text).toContain('nas');
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain((await readFile(key, 'utf8')).trim());
  }
  expect(service.lines.join('')).not.toContain(SECRET);
});

test('a mask that comes back keeps what is stored, in any way that settings are set', async () => {
  await ask('PUT', { password: SECRET });
  expect((await ask('PUT', { host: 'a', password: MASK, pin: MASK })).body).toEqual({ host: 'a', password: MASK });
  expect((await ask('PATCH', { host: 'b', password: MASK })).body).toEqual({ host: 'b', password: MASK });
  expect((await ask('PATCH', { pin: '123456' })).body).toEqual({ host: 'b', password: MASK, pin: MASK });
  const mutation = 'mutation ($input: Map!) { configurePlugin(plugin_id: "stays", input: $input) }';
  const input = { host: MASK, password: MASK, pin: 987654 };
  const { configurePlugin } = await dataOf(service, mutation, { variables: { input } });
  expect(configurePlugin).toEqual({ host: MASK, password: MASK, pin: MASK });
  expect((await desk()).settings()).toEqual({ host: MASK, password: SECRET, pin: 987654 });
  expect((await desk()).secrets()).toEqual(expect.arrayContaining([SECRET, '987654']));
  expect((await ask('PATCH', { password: null, host: null })).body).toEqual({ pin: MASK });

  const { headers } = await ask('GET');
  const seen = { 'if-match': headers.get('etag') ?? '' };
  expect((await ask('PUT', { password: 'first of all' }, seen)).status).toBe(200);
  expect((await ask('PATCH', { password: MASK, host: 'late' }, seen)).status).toBe(412);
  expect((await desk()).settings()).toEqual({ password: 'first of all' });
});

test('the plugin sets its own in clear, and they are kept sealed', async () => {
  const own = await desk();
  await own.configure({ password: 'of its own making', state: { runs: 3 } });
  expect(own.settings()).toEqual({ password: 'of its own making', state: { runs: 3 } });
  expect((await ask('GET')).body).toEqual({ password: MASK, state: { runs: 3 } });
  expect(await rows()).not.toContain('of its own making');
  await expect(own.configure({ big: Array(300_000).fill(1) })).rejects.toMatchObject({ code: 'payload_too_large' });
  await expect(own.configure({ nul: 'a\u0000' })).rejects.toMatchObject({ code: 'invalid_request' });
});

test('what may be set has bounds, also when it comes bit by bit', async () => {
  await ask('PUT', {});
  const part = 'x'.repeat(60_000);
  for (const key of ['a', 'b', 'c', 'd']) expect((await ask('PATCH', { [key]: part })).status).toBe(200);
  expect((await ask('PATCH', { e: part })).body.code).toBe('payload_too_large');
  expect((await ask('PATCH', { a: null, e: part })).status).toBe(200);
  expect((await ask('PUT', { 'half \ud83d': 1 })).status).toBe(400);
  expect((await ask('PUT', [])).status).toBe(400);
  expect((await ask('PUT', JSON.parse('{"__proto__": {"x": 1}, "n": null}'))).text).toBe(
    '{"n":null,"__proto__":{"x":1}}',
  );
  expect((await ask('PATCH', { m: 1 })).body).toMatchObject({ n: null, m: 1 });
});

test('what turns out to be secret when the code is loaded is sealed then, and stays so while it is disabled', async () => {
  const url = '/v1/plugins/legacy/settings';
  expect((await ask('PUT', { password: 'set too early' }, {}, url)).body).toEqual({ password: 'set too early' });
  const own = await desk('legacy');
  own.described(form);
  await vi.waitFor(async () => expect((await ask('GET', undefined, {}, url)).body).toEqual({ password: MASK }));
  await vi.waitFor(async () => expect(await rows()).not.toContain('set too early'));
  expect(own.settings()).toEqual({ password: 'set too early' });

  await service.ask('POST', '/v1/plugins/legacy/disable');
  expect((await ask('PATCH', { password: 'set while disabled' }, {}, url)).body).toEqual({ password: MASK });
  expect(await rows()).not.toContain('set while disabled');
});

test('what only looks sealed opens nothing, and a sealed value opens in no other place', async () => {
  await ask('PUT', { password: SECRET });
  const { settings } = await states().get('stays');
  await ask('PUT', { host: settings.password, password: SECRET });
  expect((await desk()).settings()).toEqual({ host: settings.password, password: SECRET });
  await states().replace('stays', { host: settings.password, pin: settings.password });
  await vi.waitFor(async () => expect((await ask('GET')).body).toEqual({ host: '(unreadable)', pin: '(unreadable)' }));
  await vi.waitFor(async () => expect((await desk()).settings()).toEqual({}));
  // It stays where nothing else is set in its place.
  await ask('PUT', { host: 'new', pin: '(unreadable)' });
  expect((await states().get('stays')).settings).toEqual({ host: 'new', pin: settings.password });
  const said = service.log().filter(({ msg }) => msg.startsWith('A setting that is kept sealed cannot be opened'));
  expect(said).toHaveLength(1);
  expect(said[0].cause).toContain('plugin stays');
});

test('plugins of Stash keep their settings as they are', async () => {
  const url = '/v1/plugins/demo/settings';
  expect((await ask('PUT', { password: SECRET }, {}, url)).body).toEqual({ password: SECRET });
  expect((await ask('PUT', { password: MASK }, {}, url)).body).toEqual({ password: MASK });
  expect((await states().get('demo')).settings).toEqual({ password: MASK });
  expect((await ask('PUT', { other: 1 }, {}, url)).status).toBe(400);
});

test('a secret in the name of a host that is asked for is told to nobody', async () => {
  const words = 'Open-Sésame-7';
  await ask('PUT', { password: words, pin: 'hunter2hunter2' });
  await service.ask('PUT', '/v1/plugins/stays/permissions', {
    body: { network: ['*.example.invalid'], observe: true },
  });
  await desk();
  const session = service.runtime.residents.residency('stays').openSession(
    () => {},
    () => {},
  );
  const hosts = ['xhunter2Hunter2x.evil.example', `${words.toLowerCase()}.evil.example`, 'plain.evil.example'];
  const path = join(await mkdtemp(join(tmpdir(), 'isopod-secrets-')), 'room');
  const room = createServer((socket) => session.admit(socket)).listen(path);
  await once(room, 'listening');
  for (const named of [...hosts, 'hunter2hunter2.example.invalid', 'hunter2hunter2:0']) {
    const { host } = new globalThis.URL(`http://${named}`);
    const socket = connect(path);
    socket.write(`GET http://${host}/ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect(await all(socket)).toMatch(/^HTTP\/1.1 403 /);
  }
  room.close();
  await rm(dirname(path), { recursive: true });
  session.end();
  const told = service.log().filter(({ msg }) => msg === 'egress');
  expect(told.map(({ host }) => host)).toEqual([
    'x[redacted]x.evil.example',
    '[redacted].evil.example',
    'plain.evil.example',
    '[redacted].example.invalid',
    'http://[redacted]:0',
  ]);
  const { observed, proposal } = (await ask('GET', undefined, {}, '/v1/plugins/stays/permissions')).body;
  expect(JSON.stringify(observed)).not.toMatch(/hunter2|xn--/i);
  expect(proposal.network).toEqual(['plain.evil.example:80']);
});
