// The host of Node plugins, run for real behind Node's permission model: what it makes of each plugin in fixtures/node is read
// off its frames and off what its routes answer over its socket.
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FormData } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { NodeHosts, userOf } from '../../support/node-host.ts';

let hosts: NodeHosts;
beforeAll(async () => {
  hosts = await NodeHosts.open();
});
afterAll(async () => await hosts[Symbol.asyncDispose]());

test('the hello world of the manual works as it was meant, and fails as it is written', async () => {
  await using host = await hosts.ready('hello.cjs');
  expect(host.ready).toMatchObject({
    info: { id: 'example', name: 'Example', description: 'My cool plugin!' },
    routes: [{ method: 'GET', path: '/foo' }],
    hasExit: true,
    language: expect.stringMatching(/^Node \d+\./),
  });
  expect(await host.call('/foo')).toMatchObject({ status: 200, text: 'bar' });
  expect(host.log).toBe('Example plugin loaded!\n');
  expect(readdirSync(join(host.root, 'data/default-user'))).toContain('group chats');
  expect(readdirSync(join(host.root, 'data'))).not.toContain('_uploads');
  expect(await host.stop()).toEqual({ t: 'stopped', called: true, error: null });

  const error = await hosts.failing('hello-broken.cjs');
  expect(error).toMatchObject({ name: 'ReferenceError', message: 'req is not defined' });
  expect(error.stack).toContain('hello-broken.cjs:3');
});

test('the files of a folder are tried in order, until one initialises', async () => {
  await using through = await hosts.ready('falls-through');
  expect(await through.call('/here', { method: 'PUT' })).toMatchObject({ text: 'index.mjs' });
  expect(through.ready).toMatchObject({ routes: [{ method: '*', path: '/here' }], hasExit: false });

  await using second = await hosts.ready('second-works');
  expect(second.ready.routes).toEqual([{ method: 'GET', path: '/second' }]);
  expect((await second.call('/first')).status).toBe(404);

  const error = await hosts.failing('all-fail');
  expect(error.name).toBe('RangeError');
  expect(error.message).toBe(
    'while it is imported (tried package.json, main "gone.js": Error: There is no such file; index.js: RangeError: while it is imported; index.cjs: TypeError: Its info.description is not text; index.mjs: Error: What was thrown is no error: text)',
  );
});

test('what kind of module a file is goes by its ending and the package that it is in', async () => {
  await using host = await hosts.ready('lone-commonjs.js');
  expect((await host.json('/here')).file).toMatch(/\/plugins\/lone-commonjs\.js$/);
  const { message } = await hosts.failing('lone-module.js');
  expect(message).toMatch(/^Unexpected token 'export'/);
});

test.each([
  ['null-info.mjs', 'It exports no object info'],
  ['bad-id.mjs', 'Its info.id "Not An Id" is no id: lower-case letters, digits, _ and - make one'],
  ['no-init.mjs', 'It exports no function init'],
  ['no-name.mjs', 'Its info.name is not text'],
  ['throws-later.mjs', 'in a timer'],
  ['syntax.mjs', "Unexpected token ';' (in syntax.mjs:1:22)"],
  ['reads-json', 'Unexpected non-whitespace character after JSON at position 2 (line 1 column 3)'],
])('%s fails, and says why', async (plugin, message) => {
  expect((await hosts.failing(plugin)).message).toBe(message);
});

test('of a module that cannot be read, it is told which file of the plugin it is, and where in it', async () => {
  const { name, message, stack } = await hosts.failing('broken-import');
  expect([name, message]).toEqual(['SyntaxError', "Unexpected token ';' (in lib/helper.mjs:2:19)"]);
  const shown =
    'lib/helper.mjs:2\n\texport const b = ; //  [31mred\n\t                 ^\n\nSyntaxError: Unexpected token';
  expect(stack.slice(0, shown.length)).toBe(shown);
});

test('a plugin finds what it takes from its application, and is told what is not there', async () => {
  await using host = await hosts.ready('uses-host');
  const headers = { 'content-type': 'application/json' };
  expect(await host.json('/all', { method: 'POST', headers, body: '{"a":1}' })).toEqual({
    body: { a: 1 },
    uuid: expect.stringMatching(/^[0-9a-f-]{36}$/),
    directories: true,
    handles: ['default-user'],
    mime: 'image/webp',
    name: 'a..b.txt',
    written: 'whole',
    fetched: 'fetched',
    chalk: 'string',
    punycode: 'xn--maana-pta.com',
  });
  expect((await host.call('/admin', { method: 'POST' })).status).toBe(403);
  const admin = userOf(join(host.root, 'data'), 'someone', true);
  expect((await host.call('/admin', { method: 'POST', user: admin })).text).toBe('admin');

  const { card, png } = await host.json('/card', { method: 'POST', headers, body: JSON.stringify({ png: PNG }) });
  expect(card).toEqual({ name: 'Twice', spec: 'chara_card_v3', spec_version: '3.0' });
  expect(
    Buffer.from(png, 'base64')
      .toString('latin1')
      .match(/chara\0|ccv3\0|IEND/g),
  ).toEqual(['chara\0', 'ccv3\0', 'IEND']);

  const jimp = await host.json('/lazily?what=jimp');
  const words = 'this host does not have the package "jimp"; a plugin that needs it brings it along';
  expect(jimp).toMatchObject({ code: 'MODULE_NOT_FOUND', message: expect.stringContaining(words) });
  expect(jimp.stack).toContain(words);
  expect((await host.json('/lazily?what=node:nothing')).message).not.toContain('this host');

  const { message } = await hosts.failing('misses');
  expect(message).toMatch(/^Cannot find package 'jimp' imported from .*this host does not have the package "jimp"/);
  expect(message).toMatch(/index\.cjs: Error: Cannot find module '\.\.\/\.\.\/src\/endpoints\/characters\.js'/);
  expect(message).toMatch(
    /index\.mjs: SyntaxError: .*'\.\.\/\.\.\/src\/util\.js' does not provide an export named 'getConfigValue'/,
  );
});

test("Node's permission model keeps a plugin within its reach, and lets it do what it needs there", async () => {
  await using host = await hosts.ready('uses-host');
  expect(await host.json('/reads')).toEqual({
    passwd: 'ERR_ACCESS_DENIED',
    above: 'ERR_ACCESS_DENIED',
    host: 'ERR_ACCESS_DENIED',
    link: 'ERR_ACCESS_DENIED',
    own: 'read',
    temporary: 'read',
    synced: 'read',
    program: 'read',
  });
});

test('routes of all kinds answer as in Express 4, and are told as they were registered', async () => {
  await using host = await hosts.ready('routes');
  const { routes } = host.ready;
  expect(routes).toContainEqual({ method: 'GET', path: '/play/:url(*)' });
  expect(routes).toContainEqual({ method: '*', path: '/proxy/*' });
  expect(routes).toContainEqual({ method: 'POST', path: '/probe-mediawiki' });
  expect(routes).toContainEqual({ method: 'USE', path: '/static' });
  expect(routes.slice(-6)).toEqual(
    ['/inner', '/other'].flatMap((prefix) => [
      { method: 'GET', path: `${prefix}/deep` },
      { method: 'PATCH', path: `${prefix}/deep` },
      { method: 'GET', path: `${prefix}/^\\/rx(\\d+)$/` },
    ]),
  );

  expect((await host.call('/play/https://a.example/b?c=d')).text).toBe('https://a.example/b');
  const proxied = { method: 'PATCH', rest: 'x/y', query: { a: ['1', '2'], b: { c: '3' } } };
  expect(await host.json('/proxy/x/y?a=1&a=2&b[c]=3', { method: 'PATCH' })).toEqual(proxied);
  for (const path of ['/probe', '/probe-mediawiki'])
    expect((await host.call(path, { method: 'POST' })).status).toBe(204);
  expect((await host.call('/other/deep', { method: 'PATCH' })).text).toBe('patched');
  expect((await host.call('/inner/rx42')).text).toBe('42');
  expect(await host.call('/static/a.txt')).toMatchObject({ status: 200, text: 'a static file\n' });
  expect((await host.call('/static/..%2fserver.js')).status).toBe(404);

  expect(await host.json('/started')).toEqual({
    started: ['http://127.0.0.1:8000/'],
    cwd: host.root,
    dataRoot: join(host.root, 'data'),
    env: ['PATH', 'TMPDIR', 'NODE_ENV'],
  });
  expect((await host.call('/child')).text).toBe(',42\n');
  const lost = await host.call('/nothing');
  expect(lost).toMatchObject({ status: 404, headers: { 'isopod-verdict': 'unrouted' } });
  expect(host.faults).toEqual([]);
  expect(await host.stop()).toEqual({ t: 'stopped', called: true, error: null });
  expect(readFileSync(join(host.root, 'data/exited'), 'utf8')).toBe('yes');
});

test('bodies, users and files come to a plugin as from its application', async () => {
  await using host = await hosts.ready('routes', { bodyBytes: 20_000 });
  const json = { 'content-type': 'application/json' };
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  expect(await host.json('/body', { method: 'PUT', headers: json, body: '{"a":[1]}' })).toEqual({ a: [1] });
  expect(await host.json('/body', { method: 'PUT', headers: form, body: 'a[b]=c&d=e' })).toEqual({
    a: { b: 'c' },
    d: 'e',
  });
  expect(await host.json('/body', { method: 'PUT' })).toEqual({});
  expect((await host.call('/body', { method: 'PUT', headers: json, body: '{' })).status).toBe(400);
  const long = JSON.stringify({ text: 'x'.repeat(20_000) });
  for (const path of ['/body', '/large']) {
    const tooLarge = await host.call(path, { method: path === '/body' ? 'PUT' : 'POST', headers: json, body: long });
    expect(tooLarge).toMatchObject({ status: 413, text: expect.stringContaining('Payload Too Large') });
    expect(tooLarge.text).not.toContain('node_modules');
  }
  const raw = { 'content-type': 'application/octet-stream' };
  expect(await host.json('/raw', { method: 'POST', headers: raw, body: randomBytes(3_000_000) })).toBe(3_000_000);

  const root = join(host.root, 'data');
  const user = userOf(root, 'anna', true);
  await host.call('/user', { method: 'PUT' });
  await host.call('/user', { method: 'PUT', user });
  expect(await host.json('/user')).toMatchObject({ handle: 'default-user', admin: false });
  expect(await host.json('/user', { user })).toEqual({ ...user.profile, root: join(root, 'anna') });
  const seen = await host.json('/headers', {
    user,
    id: 'r1',
    headers: { 'x-forwarded-for': '203.0.113.9', 'X-Own': 'y' },
  });
  expect(JSON.stringify([seen.headers, seen.raw])).not.toMatch(/isopod/i);
  expect(seen).toMatchObject({ headers: { 'x-own': 'y' }, ip: '203.0.113.9', url: '/api/plugins/routes/headers' });

  const body = new FormData();
  body.set('name', 'of it');
  body.set('avatar', new File(['the picture'], 'a.png'));
  expect(await host.json('/avatar', { method: 'POST', body, user })).toEqual({
    size: 11,
    originalname: 'a.png',
    text: 'the picture',
    within: expect.stringMatching(/^\.\.\/_uploads\/[0-9a-f]+$/),
    body: { name: 'of it' },
  });
  body.set('avatar', new File(['x'.repeat(20_001)], 'a.png'));
  expect((await host.call('/avatar', { method: 'POST', body, user })).status).toBe(413);
  const other = new FormData();
  other.set('picture', new File(['x'], 'a.png'));
  expect((await host.call('/avatar', { method: 'POST', body: other })).status).toBe(400);
  const stored = () => readdirSync(join(root, '_uploads'));
  expect(stored()).toEqual([]);
  // What a plugin leaves there stays for a while, and not more of it than one request may send; of no route, not at all.
  const picture = (letters: number) => {
    const form = new FormData();
    form.set('avatar', new File(['x'.repeat(letters)], 'a.png'));
    return { method: 'POST', body: form } as const;
  };
  expect((await host.call('/nowhere', picture(10))).status).toBe(404);
  await expect.poll(stored).toEqual([]);
  for (let time = 0; time < 3; time += 1) await host.call('/body', { ...picture(9_000), method: 'PUT' });
  await expect.poll(() => stored().length).toBe(2);

  const kept = await host.call('/keep', { method: 'POST', headers: json, body: '{"text":"0123456789"}', user });
  expect(kept).toMatchObject({ status: 302, headers: { location: 'kept' } });
  const part = await host.call('/kept', { headers: { range: 'bytes=2-4' }, user });
  expect(part).toMatchObject({ status: 206, text: '234', headers: { 'content-range': 'bytes 2-4/10' } });
  const beyond = await host.call('/kept', { headers: { range: 'bytes=20-' }, user });
  expect(beyond).toMatchObject({ status: 416, headers: { 'content-range': 'bytes */10' } });
  expect((await host.call('/kept')).status).toBe(404);
  expect(host.faults).toEqual([]);
});

test('an answer that comes in pieces comes as it is made, and one may wait for another request', async () => {
  await using host = await hosts.ready('routes');
  const { body } = await host.open('/stream');
  const pieces = body[Symbol.asyncIterator]();
  expect(String((await pieces.next()).value)).toBe('data: 1\n\n');
  const polled = host.json('/poll');
  const headers = { 'content-type': 'application/json' };
  const text = JSON.stringify({ woken: true });
  // Either may come first: whoever is not there yet is woken by the next.
  const woken = async () => await host.call('/wake', { method: 'POST', headers, body: text });
  const answer = Promise.race([
    polled,
    (async () => {
      for (;;) await woken();
    })(),
  ]);
  expect(await answer).toEqual({ woken: true });
  expect(String((await pieces.next()).value)).toBe('data: 2\n\n');
});

test('what goes wrong in a request costs that request alone, and is named', async () => {
  await using host = await hosts.ready('careless');
  const faults = [
    ['/throws', 'handler', 'TypeError', 'thrown secret'],
    ['/throws-text', 'handler', 'Error', 'What was thrown is no error: route'],
    ['/rejects', 'handler', 'RangeError', 'rejected secret'],
    ['/next', 'handler', 'Error', 'told to next'],
    ['/floating', 'rejection', 'Error', 'nobody waits'],
    ['/callback', 'uncaught', 'Error', 'of an emitter'],
  ] as const;
  for (const [path, kind, name, message] of faults) {
    const reply = await host.call(path, { id: `of ${path}` });
    expect(reply).toMatchObject({ status: 500, headers: { 'isopod-verdict': 'fault' } });
    expect(reply.text).toBe('The plugin has failed at this request.\n');
    const fault = await host.until((frame) => frame.t === 'fault' && frame.request === `of ${path}`);
    expect(fault).toMatchObject({ kind, error: { name, message } });
  }
  expect(host.faults).toHaveLength(faults.length);
  expect(host.faults[2]?.error.stack).toContain('careless/index.mjs:');
  expect(host.faults[2]?.error.stack).not.toContain('app.mjs');

  await expect(host.call('/half', { id: 'half' })).rejects.toThrow();
  await host.until((frame) => frame.t === 'fault' && frame.request === 'half');
  expect((await host.call('/after', { id: 'after' })).text).toBe('answered');
  await host.until((frame) => frame.t === 'fault' && frame.request === 'after');

  const { body } = await host.open('/left', { id: 'left' });
  body.on('error', () => {});
  await new Promise((resolve) => body.once('data', resolve));
  body.destroy();
  expect((await host.call('/was-left')).text).toBe('yes');
  expect(await host.until((frame) => frame.t === 'fault' && frame.request === 'left')).toMatchObject({
    kind: 'uncaught',
  });

  const before = host.faults.length;
  expect(await host.call('/missing-file')).toMatchObject({ status: 404, text: expect.not.stringContaining('nowhere') });
  expect(await host.call('/teapot')).toMatchObject({ status: 418, text: expect.not.stringContaining('stout') });
  expect(await host.call('/own')).toMatchObject({ status: 409, text: 'dealt with' });
  expect((await host.call('/fine')).text).toBe('fine');
  expect(host.faults).toHaveLength(before);
  expect(await host.stop()).toMatchObject({ called: true, error: { message: 'will not stop' } });
});

test('what goes wrong outside of all requests ends the process, and those under way hear of it', async () => {
  await using host = await hosts.ready('careless');
  const hanging = host.call('/hangs');
  const begun = await host.open('/begun');
  const cut = expect(begun.body.text()).rejects.toThrow();
  expect((await host.call('/answered-then-throws')).text).toBe('answered');
  expect(await hanging).toMatchObject({ status: 500, headers: { 'isopod-verdict': 'fault' } });
  await cut;
  expect(await host.exited).toBe(1);
  expect(host.faults).toMatchObject([{ kind: 'uncaught', request: null, error: { message: 'in a timer of its own' } }]);

  await using exiting = await hosts.ready('careless');
  await expect(exiting.call('/exits')).rejects.toThrow();
  expect(await exiting.exited).toBe(7);
});

test('a plugin that replaces what it finds is still heard, looked at and stopped', async () => {
  await using host = await hosts.ready('careless');
  expect(await host.look()).toEqual({ handles: 0, children: 0 });
  expect((await host.call('/forever')).text).toBe('ticking');
  expect(await host.look()).toEqual({ handles: 1, children: 0 });
  expect((await host.call('/spoils')).text).toBe('spoilt');
  expect((await host.call('/rejects', { id: 'x' })).status).toBe(500);
  expect(await host.look()).toEqual({ handles: 1, children: 0 });
  expect(await host.stop()).toMatchObject({ called: true });
});

test('a host with nobody left to speak to ends', async () => {
  await using host = await hosts.ready('hello.cjs');
  host.hangUp();
  expect(await host.exited).toBe(0);
  expect(existsSync(join(host.root, 'plugins/hello.cjs'))).toBe(true);
});

/** One pixel. */
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
