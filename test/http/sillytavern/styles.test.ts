// Plugins in the styles that real ones have, unchanged, through the whole service and by a client that knows nothing of it.
import { createHash, randomBytes } from 'node:crypto';
import { appendFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService } from '../../../src/main.ts';
import { type Answer, ask as request } from '../../support/client.ts';
import { startTestService, writePlugin } from '../../support/service.ts';

const FIXTURES = resolve(import.meta.dirname, '../../fixtures');

/** A plugin in one file, which says what it calls itself. */
const named = (id: string) => `export const info = { id: ${JSON.stringify(id)}, name: 'Named', description: '' };
export const init = (router) => router.get('/', (req, res) => res.send(import.meta.url.split('/').at(-1)));
`;

/** What it needs it brings along, in another version than its host has. */
const PACKED = {
  'index.js': `const express = require('express');
const { word } = require('a-package');
exports.info = { id: 'packed', name: 'Packed', description: '' };
exports.init = async (router) => router.get('/', (req, res) => res.json([word, express.isOfThePlugin ?? false]));
`,
  'node_modules/a-package/package.json': '{ "name": "a-package", "main": "main.js" }',
  'node_modules/a-package/main.js': "exports.word = 'brought';",
  'node_modules/express/package.json': '{ "name": "express", "main": "x.js" }',
  'node_modules/express/x.js': 'exports.isOfThePlugin = true;',
};

const PLUGINS: Record<string, Record<string, string> | string> = {
  gallery: join(FIXTURES, 'sillytavern/gallery'),
  workshop: join(FIXTURES, 'sillytavern/workshop'),
  'note.mjs': join(FIXTURES, 'sillytavern/note.mjs'),
  'lone.js': join(FIXTURES, 'node/lone-commonjs.js'),
  'hello.cjs': join(FIXTURES, 'node/hello.cjs'),
  'hello-broken.js': join(FIXTURES, 'node/hello-broken.cjs'),
  packed: PACKED,
  'twin-a': { 'package.json': '{ "type": "module" }', 'index.js': named('twin') },
  'twin-b': { 'index.mjs': named('twin') },
  clash: { 'index.mjs': named('plugins') },
  'bad-id': { 'index.mjs': named('Bad Id') },
};

let service: Awaited<ReturnType<typeof startTestService>>;

beforeAll(async () => {
  const plugins = Object.fromEntries(Object.entries(PLUGINS).map(([name, files]) => [`sillytavern/${name}`, files]));
  service = await startTestService({
    plugins,
    config: { sillytavern: { enabled: true, csrf: 'off' }, limits: { bootMs: 30_000 } },
  });
  await service.ask('POST', '/v1/plugins/reload');
  for (const name of ['gallery', 'workshop', 'note', 'lone', 'hello', 'packed']) {
    expect([name, await enabled(name)]).toMatchObject([name, { is: 'running', failure: null }]);
  }
}, 60_000);
afterAll(() => service[Symbol.asyncDispose]());

/** How its program does once it is up, or is not going to be. */
async function enabled(plugin: string) {
  const { body } = await service.ask('POST', `/v1/plugins/${plugin}/enable`);
  expect(body).toMatchObject({ id: plugin, enabled: true });
  return body.resident;
}

const at = (path: string, init: RequestInit = {}): Promise<Answer> => service.fetch(`/api/plugins/${path}`, init);

async function json(path: string, method = 'GET', body?: unknown, headers: Record<string, string> = {}) {
  const answer = await service.ask(method, `/api/plugins/${path}`, { body, headers });
  return [answer.status, answer.body ?? answer.text];
}

const digest = (bytes: string | Buffer) => createHash('sha256').update(bytes).digest('hex');

/** The text of an answer as it comes, `until` there is so much of it. */
function reading(response: Response) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (reader === undefined) throw new Error('It has no body');
  let text = '';
  return {
    until: async (enough: string) => {
      while (!text.includes(enough)) {
        const { done, value } = await reader.read();
        if (done) throw new Error(`It ended: ${text}`);
        text += value;
      }
      return text;
    },
    rest: async () => {
      for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
      return text;
    },
    cancel: () => reader.cancel(),
  };
}

test('modules of either kind, alone or in folders, with what they bring along', async () => {
  expect((await at('example/foo')).text).toBe('bar');
  expect((await at('note')).text).toBe('noted plugins/note.mjs');
  expect(await json('lone/here')).toEqual([200, { file: expect.stringMatching(/\/plugins\/lone\.js$/) }]);
  expect(await json('packed')).toEqual([200, ['brought', true]]);
  const { body } = await service.get('/v1/plugins/gallery');
  expect(body).toMatchObject({ dialect: 'sillytavern', program: 'node', name: 'Gallery', version: '1.2.0' });
});

test('routes as Express 4 has them: wildcards, patterns, several paths, and what is registered is shown', async () => {
  const url = 'https://example.com/a/b.mp3';
  expect(await json(`gallery/play/${url}?at=5`)).toEqual([200, { url, query: { at: '5' } }]);
  expect(await json(`gallery/play/${encodeURIComponent(url)}`)).toEqual([200, { url, query: {} }]);
  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
    expect(await json('gallery/proxy/v1/models', method)).toEqual([200, { method, rest: 'v1/models' }]);
  }
  for (const path of ['probe', 'probe-more']) expect((await at(`gallery/${path}`)).status).toBe(204);
  const lost = await at('gallery/prob');
  expect([lost.status, lost.body.code]).toEqual([404, 'not_found']);
  expect(lost.body.detail).toContain('GET /probe');
  const { body } = await service.get('/v1/plugins/gallery/routes');
  expect(body).toMatchObject({ address: 'gallery', base: '/api/plugins/gallery', isHeard: true });
  expect(body.routes).toEqual(
    expect.arrayContaining([
      { method: 'USE', path: '/static' },
      { method: 'GET', path: '/probe-more' },
      { method: 'GET', path: '/play/:url(*)' },
      { method: '*', path: '/proxy/*' },
    ]),
  );
});

test('files: static ones and single ones, in parts, by what the client has already', async () => {
  const page = await at('gallery/static/page.html');
  expect([page.status, page.text, page.headers.get('content-type')]).toEqual([
    200,
    'A page of its own.\n',
    'text/html; charset=UTF-8',
  ]);
  for (const path of ['gallery/file', 'gallery/static/long.txt']) {
    const whole = await at(path);
    expect([whole.text.length, whole.headers.get('accept-ranges')]).toEqual([36, 'bytes']);
    const part = await at(path, { headers: { range: 'bytes=10-13' } });
    expect([part.status, part.text, part.headers.get('content-range')]).toEqual([206, 'abcd', 'bytes 10-13/36']);
    const last = await at(path, { headers: { range: 'bytes=-2' } });
    expect([last.status, last.text]).toEqual([206, 'yz']);
    const behind = await at(path, { headers: { range: 'bytes=99-' } });
    expect([behind.status, behind.headers.get('content-range')]).toEqual([416, 'bytes */36']);
    const head = await at(path, { method: 'HEAD' });
    expect([head.status, head.text, head.headers.get('content-length')]).toEqual([200, '', '36']);
    const etag = whole.headers.get('etag') ?? '';
    const known = await at(path, { headers: { 'if-none-match': etag, 'cache-control': 'max-age=0' } });
    expect([known.status, known.text, known.headers.get('etag')]).toEqual([304, '', etag]);
  }
});

test('redirects go where they are meant to, with the tenant in front too', async () => {
  const location = async (path: string, prefix = '') => {
    const { status, headers } = await service.get(`${prefix}/api/plugins/gallery/${path}`);
    return [status, headers.get('location')];
  };
  expect(await location('redirect')).toEqual([302, 'static/page.html']);
  expect(await location('redirect-whole')).toEqual([301, '/api/plugins/gallery/static/page.html']);
  expect(await location('redirect-away')).toEqual([307, 'https://example.com/x?y=z']);
  expect(await location('redirect-whole', '/t/default')).toEqual([
    301,
    '/t/default/api/plugins/gallery/static/page.html',
  ]);
  const followed = await fetch(`${service.url}/t/default/api/plugins/gallery/redirect`);
  expect([followed.url.slice(service.url.length), await followed.text()]).toEqual([
    '/t/default/api/plugins/gallery/static/page.html',
    'A page of its own.\n',
  ]);
});

test('streams: what is written comes before more is, and both sides see the end of it', async () => {
  const drip = reading(await fetch(`${service.url}/api/plugins/gallery/drip`));
  for (const so of ['one', 'onetwo', 'onetwothree']) {
    expect(await drip.until(so)).toBe(so);
    expect((await at('gallery/next', { method: 'POST' })).status).toBe(204);
  }
  expect(await drip.rest()).toBe('onetwothreeend');

  const response = await fetch(`${service.url}/api/plugins/gallery/events`);
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const events = reading(response);
  await events.until('start');
  expect(await json('gallery/listening')).toEqual([200, 1]);
  await at('gallery/next', { method: 'POST' });
  expect(await events.until('next')).toBe('data: {"at":"start"}\n\ndata: {"at":"next"}\n\n');
  await events.cancel();
  await expect.poll(() => json('gallery/listening')).toEqual([200, 0]);

  const image = await fetch(`${service.url}/api/plugins/gallery/image?parts=40`);
  const bytes = Buffer.from(await image.arrayBuffer());
  const drawn = Buffer.concat(Array.from({ length: 40 }, (_, part) => Buffer.alloc(64 * 1024, part)));
  expect([image.headers.get('content-type'), bytes.equals(drawn)]).toEqual(['image/png', true]);
});

test('a long poll is answered by what another request says', async () => {
  const waiting = json('gallery/poll');
  expect(await json('gallery/poll', 'POST', { said: 'now' })).toEqual([202, 'Accepted']);
  expect(await waiting).toEqual([200, { said: 'now' }]);
});

test('bodies: JSON, forms, files and bytes, and large ones', async () => {
  expect(await json('workshop/json', 'POST', { ä: [1, null] })).toEqual([
    200,
    { is: { ä: [1, null] }, type: 'object' },
  ]);
  const form = await at('workshop/form', { method: 'POST', body: new URLSearchParams('a[b]=1&a[c]=ü&d=2&d=3') });
  expect(form.body).toEqual({ a: { b: '1', c: 'ü' }, d: ['2', '3'] });
  const broken = await at('workshop/json', {
    method: 'POST',
    body: '{"a":',
    headers: { 'content-type': 'application/json' },
  });
  expect(broken.status).toBe(400);

  const text = randomBytes(8 << 20).toString('hex');
  expect(await json('workshop/large', 'POST', { text })).toEqual([200, { bytes: text.length, digest: digest(text) }]);
  const bytes = randomBytes(3 << 20);
  const raw = await at('workshop/raw', { method: 'POST', body: bytes, headers: { 'content-type': 'x/y' } });
  expect(raw.body).toEqual({ bytes: bytes.length, digest: digest(bytes), type: 'x/y' });
  const upper = await at('workshop/pipe', {
    method: 'POST',
    body: 'through a child',
    headers: { 'content-type': 'text/plain' },
  });
  expect(upper.text).toBe('THROUGH A CHILD');

  const avatar = (field: string) => {
    const parts = new FormData();
    parts.append('who', 'Ünï');
    parts.append(field, new File([bytes], 'face.png', { type: 'image/png' }));
    return at('workshop/avatar', { method: 'POST', body: parts });
  };
  expect((await avatar('avatar')).body).toEqual({
    fieldname: 'avatar',
    originalname: 'face.png',
    mimetype: 'image/png',
    size: bytes.length,
    isOwn: true,
    digest: digest(bytes),
    fields: { who: 'Ünï' },
  });
  const kept = await fetch(`${service.url}/api/plugins/workshop/avatar`);
  expect(digest(Buffer.from(await kept.arrayBuffer()))).toBe(digest(bytes));
  // As there, only that one may be a file.
  expect((await avatar('another')).status).toBe(400);
  const fields = new FormData();
  fields.append('a', '1');
  expect((await at('workshop/avatar', { method: 'POST', body: fields })).body.fields).toEqual({ a: '1' });
});

test('users have folders of their own, and each method reaches its route', async () => {
  const ada = { 'isopod-user': 'ada', 'isopod-user-name': 'Ada' };
  expect(await json('workshop/files/a.json', 'PUT', { by: 'ada' }, ada)).toEqual([201, 'Created']);
  expect(await json('workshop/files/a.json', 'PUT', { by: 'default' })).toEqual([201, 'Created']);
  expect(await json('workshop/files/a.json', 'PATCH', { more: 1 }, ada)).toEqual([200, { before: { by: 'ada' } }]);
  expect(await json('workshop/files/a.json', 'GET', undefined, ada)).toEqual([200, { by: 'ada', more: 1 }]);
  expect(await json('workshop/files/a.json')).toEqual([200, { by: 'default' }]);
  expect(await json('workshop/files/a.json', 'DELETE')).toEqual([204, '']);
  const [, mine] = await json('workshop/files', 'GET', undefined, ada);
  expect(mine).toMatchObject({ profile: { handle: 'ada', name: 'Ada', admin: false }, files: ['a.json'] });
  const [, theirs] = await json('workshop/files');
  expect(theirs).toMatchObject({ profile: { handle: 'default-user', name: 'User', admin: true }, files: [] });
  expect(theirs.root).not.toBe(mine.root);
  const options = await at('workshop/files', { method: 'OPTIONS' });
  expect([options.status, options.headers.get('allow')]).toEqual([204, 'GET, OPTIONS']);
});

test('what it takes from its host is where it looks for it', async () => {
  const [, host] = await json('workshop/host');
  expect(host).toMatchObject({
    cwd: expect.stringMatching(/^\//),
    entries: expect.arrayContaining(['data', 'node_modules', 'package.json', 'plugins', 'src']),
    own: 'plugins/workshop/lib/main.js',
    data: 'data',
    root: 'default-user',
    uuid: expect.stringMatching(/^[0-9a-f-]{36}$/),
    parser: 'function',
    started: ['http:'],
  });
  expect(await json('workshop/child')).toEqual([200, ['42\n', '6\n']]);
  const { body } = await service.get('/v1/plugins/workshop/logs');
  const lines = body.lines.map(({ level, message }: { level: string; message: string }) => [level, message]);
  expect(lines).toEqual(
    expect.arrayContaining([
      ['info', 'The workshop is open'],
      ['warning', 'and warns'],
    ]),
  );
});

test('cookies of its own come back to it alone', async () => {
  const { headers, body } = await at('workshop/cookie', {
    headers: { cookie: 'workshop=before; isopod-session=ours' },
  });
  expect(headers.getSetCookie()).toEqual(['workshop=seen; HttpOnly; Path=/api/plugins/workshop']);
  expect(body).toEqual({ cookie: 'workshop=before' });
});

test('what does not start says why, and harms nobody', async () => {
  const failed = async (name: string) => {
    const resident = await enabled(name);
    const { body } = await service.get(`/v1/plugins/${name}/logs`);
    return {
      words: `${resident.failure.message} ${resident.failure.pluginError?.message}`,
      ...resident.failure,
      log: body.lines.map(({ message }: { message: string }) => message).join('\n'),
    };
  };
  const broken = await failed('hello-broken');
  expect(broken).toMatchObject({ code: 'plugin_boot_failed', pluginError: { message: 'req is not defined' } });
  expect(broken.log).toMatch(/ReferenceError: req is not defined[\s\S]*hello-broken\.js:3/);
  const deaths = async () => (await service.get('/v1/plugins/hello-broken')).body.resident.deaths;
  const died = await deaths();
  expect((await failed('bad-id')).words).toContain('"Bad Id" is no id');
  expect((await failed('clash')).words).toMatch(/"plugins" is reserved.*Dispatcharr/);

  // Nobody tries it again unless it is asked for, and then it says why.
  const nobody = await request(`${service.url}/api/plugins/nobody/foo`);
  expect(nobody).toMatchObject({ status: 404, body: { code: 'not_found' } });
  for (const name of ['bad-id', 'clash', 'hello-broken']) expect(nobody.body.detail).toContain(`"${name}"`);
  expect(await deaths()).toBe(died);
  const asked = await request(`${service.url}/api/plugins/hello-broken/foo`);
  expect([asked.status, asked.body.code]).toEqual([502, 'plugin_boot_failed']);

  expect(await enabled('twin-a')).toMatchObject({ is: 'running' });
  expect((await failed('twin-b')).words).toMatch(/"twin" is in use already, by plugin "twin-a"/);
  expect((await service.get('/v1/plugins/twin-b')).body.resident.is).not.toBe('running');
  expect(await json('twin')).toEqual([200, 'index.js']);
  // Who has it keeps it while it is disabled: else another would get what its users send.
  await service.ask('POST', '/v1/plugins/twin-a/disable');
  await service.ask('POST', '/v1/plugins/twin-b/disable');
  expect((await failed('twin-b')).words).toMatch(/"twin" is in use already, by plugin "twin-a"/);
  await rm(join(service.folder, 'plugins/sillytavern/twin-a'), { recursive: true });
  await service.ask('POST', '/v1/plugins/reload');
  await service.ask('POST', '/v1/plugins/twin-b/disable');
  expect(await enabled('twin-b')).toMatchObject({ is: 'running', failure: null });
  expect(await json('twin')).toEqual([200, 'index.mjs']);
  // Dispatcharr's own API is where it was.
  expect((await at('plugins/')).body.plugins).toEqual([]);
  expect((await at('example/foo')).text).toBe('bar');
});

test('what changes on disk renews it when asked, and nobody else; being disabled ends it', async () => {
  const startedAt = async (name: string) => (await service.get(`/v1/plugins/${name}`)).body.resident.startedAt;
  const before = [await startedAt('note'), await startedAt('gallery')];
  const [, { stops }] = await json('workshop/host');
  await appendFile(join(service.folder, 'plugins/sillytavern/workshop/lib/main.js'), "\nconsole.log('another one');\n");
  await json('workshop/files/kept.json', 'PUT', { kept: true });
  expect((await service.get('/v1/plugins/workshop/logs')).text).not.toContain('another one');
  const { body } = await service.ask('POST', '/v1/plugins/reload');
  expect(body).toMatchObject({ changed: ['workshop'], added: [], removed: [] });
  expect(await json('workshop/files/kept.json')).toEqual([200, { kept: true }]);
  expect((await service.get('/v1/plugins/workshop/logs')).text).toContain('another one');
  // It was told to stop, and has written that down.
  expect((await json('workshop/host'))[1].stops).toBe(stops + 1);
  expect([await startedAt('note'), await startedAt('gallery')]).toEqual(before);

  await writeFile(
    join(service.folder, 'plugins/sillytavern/note.mjs'),
    "export const info = { id: 'renamed', name: 'N', description: '' };\nexport const init = (router) => router.get('/', (req, res) => res.send('anew'));\n",
  );
  expect((await service.ask('POST', '/v1/plugins/note/reload')).body.resident).toMatchObject({ is: 'running' });
  expect([(await at('renamed')).text, (await at('note')).status]).toEqual(['anew', 404]);

  expect((await service.ask('POST', '/v1/plugins/note/disable')).body.enabled).toBe(false);
  const off = await at('renamed');
  expect([off.status, off.body.code]).toEqual([409, 'plugin_disabled']);
  await service.ask('POST', '/v1/plugins/note/enable');
  expect((await at('renamed')).text).toBe('anew');
});

test('tenants are apart, and each has a switch that is heeded at once', async () => {
  const acme = (switched: boolean | null) =>
    service.ask('PATCH', '/v1/tenants/acme', { body: { enableServerPlugins: switched } });
  await service.ask('POST', '/v1/tenants', { body: { id: 'acme' } });
  await writePlugin(
    join(service.config.dataDir, 'tenants/acme/plugins/sillytavern/workshop'),
    join(FIXTURES, 'sillytavern/workshop'),
  );
  await service.ask('POST', '/t/acme/v1/plugins/reload');
  await service.ask('POST', '/t/acme/v1/plugins/workshop/enable');
  const files = () => service.get('/t/acme/api/plugins/workshop/files');
  const off = await files();
  expect([off.status, off.body.code]).toEqual([409, 'plugin_disabled']);
  expect(off.body.detail).toContain('enableServerPlugins');
  const { body } = await service.get('/t/acme/v1/plugins/workshop');
  expect([body.enabled, body.heldBack]).toEqual([true, expect.stringContaining('enableServerPlugins')]);

  await acme(true);
  expect((await files()).body).toMatchObject({ profile: { handle: 'default-user' }, files: [] });
  expect((await files()).headers.get('isopod-isolation')).not.toBeNull();
  // What another has, and what nobody has, is the same to it.
  const [theirs, nobodys] = await Promise.all(
    ['gallery', 'absent1'].map((address) => service.get(`/t/acme/api/plugins/${address}/probe`)),
  );
  const same = (answer: Answer | undefined, address: string) => [
    answer?.status,
    answer?.text.replaceAll(answer.body.request, '').replaceAll(address, ''),
  ];
  expect(same(theirs, 'gallery')).toEqual(same(nobodys, 'absent1'));
  expect(theirs?.status).toBe(404);

  await acme(false);
  expect((await files()).status).toBe(409);
  await expect
    .poll(async () => (await service.get('/t/acme/v1/plugins/workshop')).body.resident?.is)
    .not.toBe('running');
  await acme(true);
  expect((await files()).status).toBe(200);
  expect((await service.ask('DELETE', '/v1/tenants/acme')).status).toBe(204);
  expect((await at('gallery/probe')).status).toBe(204);
});

test('after a restart it is remembered who answers where, and who does is started when asked', async () => {
  const waiting = at('gallery/poll');
  await expect.poll(async () => (await service.get('/metrics')).text).toContain('isopod_serving 1\n');
  await service.service.close();
  const { status, body: told } = await waiting;
  expect([status, told.code, told.retryable]).toEqual([503, 'draining', false]);
  const late = join(service.folder, 'plugins/sillytavern/late.mjs');
  await writeFile(late, named('by-another-name'));
  const { config } = service;
  await using again = await startService(
    {
      ...config,
      residents: { ...config.residents, start: 'demand' },
      sillytavern: { ...config.sillytavern, csrf: 'on' },
    },
    { write: () => {} },
  );
  const ask = (path: string, init: RequestInit = {}) => request(again.url + path, init);
  const running = async () => {
    const { plugins } = (await ask('/v1/plugins')).body;
    return plugins.filter((one: { resident: unknown }) => one.resident !== null).map(({ id }: { id: string }) => id);
  };
  expect((await ask('/v1/plugins/gallery/routes')).body).toMatchObject({ address: 'gallery', isHeard: true });
  expect(await running()).toEqual([]);
  expect((await ask('/api/plugins/gallery/probe')).status).toBe(204);
  expect(await running()).toEqual(['gallery']);

  await ask('/v1/plugins/late/enable', { method: 'POST' });
  const { body: unheard } = await ask('/v1/plugins/late/routes');
  expect(unheard).toMatchObject({ address: null, isHeard: false, hint: expect.any(String) });
  expect((await ask('/api/plugins/by-another-name')).text).toBe('late.mjs');
  expect(await running()).toEqual(expect.arrayContaining(['gallery', 'late']));
  expect(await running()).not.toContain('workshop');

  const next = (headers: Record<string, string> = {}) =>
    ask('/api/plugins/gallery/next', { method: 'POST', headers }).then(({ status }) => status);
  const csrf = await ask('/csrf-token');
  const cookie = csrf.headers.getSetCookie()[0]?.split(';', 1)[0] ?? '';
  expect(await next()).toBe(403);
  expect(await next({ 'x-csrf-token': csrf.body.token })).toBe(403);
  expect(await next({ 'x-csrf-token': csrf.body.token, cookie })).toBe(204);
  const made = await ask('/v1/tenants/default/tokens', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'ours', scopes: ['invoke'] }),
  });
  expect(await next({ authorization: `Bearer ${made.body.secret}` })).toBe(204);
});
