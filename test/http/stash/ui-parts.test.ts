// Goal: pages get the scripts, styles and assets of plugins, and nothing else of this machine; and none of it can act as us.
import { link, readdir, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestService, writePlugin } from '../../support/service.ts';
import { raw } from '../../support/socket.ts';
import { zipOf } from '../../support/zip.ts';

const MANIFEST = `
name: Look
ui:
  javascript: [a.js, "https://cdn.example/x.js", missing.js, ../other/other.js, b.js, to-config.js]
  css: [a.css]
  assets:
    /: public
    /img: images
    /img/deep: deep
    /logo.png: images/logo.png
    /out: ../other
    /evil: ../look-evil
    relative: images
`;

let service: Awaited<ReturnType<typeof startTestService>>;
let dir: string;
beforeAll(async () => {
  service = await startTestService({
    plugins: {
      look: {
        'look.yml': MANIFEST,
        'a.js': 'let a = 1;',
        'b.js': 'let ü = 2;\n',
        'a.css': 'b {}',
        'public/index.html': '<script>alert(1)</script>',
        'public/page.xhtml': '<html xmlns="http://www.w3.org/1999/xhtml"/>',
        'public/imgs': 'of the root',
        'public/.hidden': 'SECRET',
        'public/.git/config': 'SECRET',
        'public/sub/index.html': 'sub',
        'public/with space.txt': 'spaced',
        'public/%2e.txt': 'percent',
        'public/numbers.txt': '0123456789',
        'public/empty.txt': '',
        'images/logo.png': 'PNG',
        'images/pic.svg': '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        'deep/x.txt': 'deep',
      },
      'look-evil': { 'secret.txt': 'SECRET' },
      other: { 'other.yml': 'name: Other', 'other.js': 'SECRET', 'secret.txt': 'SECRET' },
      off: { 'off.yml': 'name: Off\nui: { javascript: [a.js], assets: {/: .} }', 'a.js': 'off' },
    },
    config: { tokens: ['operator-token'] },
  });
  dir = join(service.folder, 'plugins/stash/look');
  await symlink('/proc/self/environ', join(dir, 'to-config.js'));
  await symlink('../../other/secret.txt', join(dir, 'public/to-outside.txt'));
  await symlink('../images/logo.png', join(dir, 'public/to-inside.png'));
  await operator('POST', '/v1/plugins/off/disable');
  await operator('POST', '/v1/tenants', { id: 'acme' });
  await writePlugin(join(service.config.dataDir, 'tenants/acme/plugins/stash/theirs'), {
    'theirs.yml': 'name: Theirs\nui: { javascript: [a.js], assets: {/: .} }',
    'a.js': 'theirs',
  });
  await operator('POST', '/t/acme/v1/plugins/reload');
});
afterAll(() => service[Symbol.asyncDispose]());

const operator = (method: string, path: string, body?: unknown) =>
  service.ask(method, path, { token: 'operator-token', body });
const get = (path: string, headers: Record<string, string> = {}) =>
  service.get(path, { authorization: 'Bearer operator-token', ...headers });

/** As it stands: `fetch` would tidy the path up first. */
async function untidied(path: string): Promise<{ status: number; body: string }> {
  const head = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer operator-token\r\nConnection: close\r\n\r\n`;
  const answer = await raw(service.url, head);
  return { status: Number(answer.slice(9, 12)), body: answer.slice(answer.indexOf('\r\n\r\n') + 4) };
}

describe('scripts and styles', () => {
  test('are one file, in the order of the manifest, without those of other servers and those that cannot be read', async () => {
    const { status, text, headers } = await get('/plugin/look/javascript');
    expect([status, text]).toEqual([200, 'let a = 1;\nlet ü = 2;\n\n']);
    expect(headers.get('content-type')).toBe('text/javascript; charset=utf-8');
    expect(headers.get('content-length')).toBe(String(Buffer.byteLength(text)));
    expect(headers.get('isopod-left-out')).toBe('2=absent, 3=outside, 5=outside');
    expect(headers.get('cache-control')).toBe('no-cache');
    expect(headers.get('etag')).toMatch(/^"[\w-]+"$/);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('cross-origin-resource-policy')).toBe('same-origin');
  });

  test('may be kept for ever where the address says which version it is and nothing is missing', async () => {
    const css = await get('/plugin/look/css?t=1');
    expect([css.text, css.headers.get('content-type')]).toEqual(['b {}\n', 'text/css; charset=utf-8']);
    expect(css.headers.get('cache-control')).toBe('private, max-age=31536000, immutable');
    expect((await get('/plugin/look/css?t')).headers.get('cache-control')).toContain('immutable');
    expect((await get('/plugin/look/css')).headers.get('cache-control')).toBe('no-cache');
    expect((await get('/plugin/look/javascript?t=1')).headers.get('cache-control')).toBe('no-cache');
  });

  test('have a tag that changes with what is in them, and only then', async () => {
    const tag = async () => (await get('/plugin/look/css')).headers.get('etag');
    const before = await tag();
    await writeFile(join(dir, 'a.css'), 'b {}');
    expect(await tag()).toBe(before);
    await writeFile(join(dir, 'a.css'), 'c {}');
    expect(await tag()).not.toBe(before);
    await writeFile(join(dir, 'a.css'), 'b {}');
    expect(await tag()).toBe(before);
  });

  test('of a plugin that has none are empty', async () => {
    expect(await get('/plugin/other/javascript')).toMatchObject({ status: 200, text: '' });
  });
});

describe('who gets them', () => {
  const parts = ['javascript', 'css', 'assets', 'assets/a.js', 'assets/nothing'];

  test.each(parts)('%s of a plugin that is not there is 404, of one that is disabled 400', async (part) => {
    const unknown = await get(`/plugin/nobody/${part}`);
    expect([unknown.status, unknown.body.code]).toEqual([404, 'not_found']);
    const off = await get(`/plugin/off/${part}`);
    expect([off.status, off.body.code, off.body.detail]).toEqual([400, 'plugin_disabled', 'plugin disabled']);
  });

  test.each(parts)('%s of another tenant is what is not there', async (part) => {
    const { body } = await operator('POST', '/v1/tenants/acme/tokens', { name: 'a', scopes: ['invoke'] });
    const ask = (path: string) => service.ask('GET', path, { token: body.token ?? body.secret });
    const [theirs, nobodys] = [await ask(`/plugin/look/${part}`), await ask(`/plugin/kool/${part}`)];
    expect(theirs.status).toBe(404);
    expect(theirs.text).toBe(nobodys.text.replace('kool', 'look'));
    expect((await ask('/plugin/theirs/javascript')).text).toBe('theirs\n');
    expect((await get('/t/acme/plugin/theirs/javascript')).text).toBe('theirs\n');
    expect((await get('/t/acme/plugin/theirs/assets/a.js')).text).toBe('theirs');
    expect((await get('/plugin/theirs/javascript')).status).toBe(404);
    expect((await service.get(`/plugin/look/${part}`)).status).toBe(401);
  });
});

describe('assets', () => {
  test.each([
    ['/img/logo.png', 'PNG', 'image/png'],
    ['/logo.png', 'PNG', 'image/png'],
    ['/img/deep/x.txt', 'deep', 'text/plain; charset=utf-8'],
    // Not below /img, which is a segment and not the beginning of one.
    ['/imgs', 'of the root', 'application/octet-stream'],
    ['/numbers.txt', '0123456789', 'text/plain; charset=utf-8'],
    ['/empty.txt', '', 'text/plain; charset=utf-8'],
    ['/with%20space.txt', 'spaced', 'text/plain; charset=utf-8'],
    ['/%252e.txt', 'percent', 'text/plain; charset=utf-8'],
    ['/to-inside.png', 'PNG', 'image/png'],
    ['', '<script>alert(1)</script>', 'text/html; charset=utf-8'],
    ['/', '<script>alert(1)</script>', 'text/html; charset=utf-8'],
    ['/index.html', '<script>alert(1)</script>', 'text/html; charset=utf-8'],
    ['/sub/', 'sub', 'text/html; charset=utf-8'],
    ['/sub/index.html?x=/../y', 'sub', 'text/html; charset=utf-8'],
  ])('%s is there', async (path, text, type) => {
    const answer = await get(`/plugin/look/assets${path}`);
    expect([answer.status, answer.text, answer.headers.get('content-type')]).toEqual([200, text, type]);
  });

  test.each([
    '/../look.yml',
    '/..%2flook.yml',
    '/..%2Flook.yml',
    '/%2e%2e/look.yml',
    '/%2e%2e%2flook.yml',
    '/%252e%252e/look.yml',
    '/..%252flook.yml',
    '/..%255clook.yml',
    '/..\\look.yml',
    '/..%5clook.yml',
    '/sub/../../look.yml',
    '/./numbers.txt',
    '//numbers.txt',
    '/sub//index.html',
    '///etc/passwd',
    '/numbers.txt%00',
    '/numbers.txt%00.png',
    '/%00',
    '/numbers.txt/',
    '/numbers.txt%0d%0aX-Injected:%201',
    '/.hidden',
    '/%2ehidden',
    '/.git/config',
    '/to-outside.txt',
    '/sub',
    '/img/',
    '/img/nothing.png',
    '/deep/x.txt',
    '/out/secret.txt',
    '/evil/secret.txt',
    '/relative/logo.png',
    '/nothing',
    `/${'a/'.repeat(2_000)}b`,
    `/${'x'.repeat(300)}`,
  ])('%s is not', async (path) => {
    const { status, body } = await untidied(`/plugin/look/assets${path}`);
    expect([path.slice(0, 60), status]).toEqual([path.slice(0, 60), 404]);
    expect(body).not.toContain('SECRET');
  });

  test.each(['/plugin/look%2fassets/x', '/plugin/..%2flook/assets/numbers.txt', '/plugin/look/%61ssets/numbers.txt'])(
    '%s is no other way to them',
    async (path) => expect((await untidied(path)).status).toBe(404),
  );

  test.each([
    ['/index.html', 'text/html; charset=utf-8', null],
    ['/img/pic.svg', 'image/svg+xml', null],
    ['/page.xhtml', 'application/octet-stream', 'attachment'],
    ['/imgs', 'application/octet-stream', 'attachment'],
    ['/numbers.txt', 'text/plain; charset=utf-8', null],
    ['/img/logo.png', 'image/png', null],
  ])('%s cannot act as our origin', async (path, type, disposition) => {
    for (const method of ['GET', 'HEAD']) {
      const { headers } = await operator(method, `/plugin/look/assets${path}`);
      expect(headers.get('content-type')).toBe(type);
      expect(headers.get('content-disposition')).toBe(disposition);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('cross-origin-resource-policy')).toBe('same-origin');
      expect(headers.get('referrer-policy')).toBe('no-referrer');
      const policy = (headers.get('content-security-policy') ?? '').split('; ');
      expect(policy).toContain('sandbox');
      expect(policy).toContain("default-src 'none'");
      expect(policy.join()).not.toMatch(/allow-|script-src|unsafe-eval/);
    }
  });

  test('a file that is there by a second name is a file like any other', async () => {
    await link(join(dir, 'images/logo.png'), join(dir, 'public/same.png'));
    expect((await get('/plugin/look/assets/same.png')).text).toBe('PNG');
    await rm(join(dir, 'public/same.png'));
  });
});

describe('parts and versions', () => {
  const path = '/plugin/look/assets/numbers.txt';

  test.each([
    ['bytes=0-3', 206, '0123', 'bytes 0-3/10'],
    ['bytes=7-', 206, '789', 'bytes 7-9/10'],
    ['bytes=-2', 206, '89', 'bytes 8-9/10'],
    ['bytes=-99', 206, '0123456789', 'bytes 0-9/10'],
    ['bytes=9-99', 206, '9', 'bytes 9-9/10'],
    // Several, or what is none, count as not said.
    ['bytes=0-1,3-4', 200, '0123456789', null],
    ['bytes=3-1', 200, '0123456789', null],
    ['bytes=-', 200, '0123456789', null],
    ['lines=1-2', 200, '0123456789', null],
    ['bytes=0x1-2', 200, '0123456789', null],
    ['bytes=99999999999999999999-', 200, '0123456789', null],
  ])('the range %s is %i', async (range, status, text, contentRange) => {
    const answer = await get(path, { range });
    expect([answer.status, answer.text]).toEqual([status, text]);
    expect(answer.headers.get('content-range')).toBe(contentRange);
    expect(answer.headers.get('content-length')).toBe(String(text.length));
    expect(answer.headers.get('accept-ranges')).toBe('bytes');
  });

  test.each(['bytes=10-', 'bytes=10-20', 'bytes=-0'])('the range %s is behind the end', async (range) => {
    const { status, headers, body } = await get(path, { range });
    expect([status, headers.get('content-range'), body.code]).toEqual([416, 'bytes */10', 'invalid_request']);
  });

  test('scripts have ranges, too, across the files that they are of', async () => {
    const { status, text } = await get('/plugin/look/javascript', { range: 'bytes=8-14' });
    expect([status, text]).toEqual([206, '1;\nlet ']);
  });

  test('what one has already is not sent again', async () => {
    for (const one of [path, '/plugin/look/css']) {
      const { headers, text } = await get(one);
      const tag = headers.get('etag') as string;
      for (const seen of [tag, `W/${tag}`, `"x", ${tag}`, '*']) {
        const again = await get(one, { 'if-none-match': seen });
        expect([again.status, again.text, again.headers.get('etag')]).toEqual([304, '', tag]);
        expect(again.headers.get('content-length')).toBeNull();
      }
      expect((await get(one, { 'if-none-match': '"x"', range: 'bytes=0-0' })).status).toBe(206);
      expect((await get(one, { 'if-match': '"x"' })).status).toBe(412);
      expect((await get(one, { 'if-match': `W/${tag}` })).status).toBe(412);
      expect((await get(one, { 'if-match': tag })).text).toBe(text);
      expect((await get(one, { 'if-range': tag, range: 'bytes=0-0' })).status).toBe(206);
      expect((await get(one, { 'if-range': '"x"', range: 'bytes=0-0' })).text).toBe(text);
      expect((await get(one, { 'if-range': new Date().toUTCString(), range: 'bytes=0-0' })).text).toBe(text);
    }
  });

  test('HEAD says the same and sends nothing', async () => {
    for (const one of [path, '/plugin/look/css', '/plugin/look/assets']) {
      const [head, whole] = [await operator('HEAD', one), await get(one)];
      expect([head.status, head.text]).toEqual([200, '']);
      for (const name of ['content-length', 'etag', 'content-type', 'cache-control'])
        expect([name, head.headers.get(name)]).toEqual([name, whole.headers.get(name)]);
    }
  });

  test('other methods are told which there are', async () => {
    const { status, headers } = await operator('POST', path, {});
    expect([status, headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  });
});

describe('where a plugin is', () => {
  const looks = { 'looks.yml': 'name: Looks\nui: { assets: {/: .} }', 'x.txt': 'fine', 'secret.txt': 'not yet' };
  const folder = (name: string) => join(service.folder, 'plugins/stash', name);

  test('is where it was found, and not where its folder leads by now', async () => {
    await writePlugin(folder('outer/looks'), looks);
    await operator('POST', '/v1/plugins/reload');
    expect((await get('/plugin/looks/assets/secret.txt')).text).toBe('not yet');
    await rm(folder('outer/looks'), { recursive: true });
    await symlink('../other', folder('outer/looks'));
    expect((await get('/plugin/looks/assets/secret.txt')).status).toBe(404);
    await rm(folder('outer'), { recursive: true });
  });

  test('may be behind a link inside the plugins folder, which may come to lead elsewhere', async () => {
    await writePlugin(folder('.one'), { 'x.txt': 'one', 'sub/looks.yml': looks['looks.yml'], 'sub/x.txt': 'one' });
    await writePlugin(folder('.two'), { 'x.txt': 'two' });
    await operator('POST', '/v1/plugins/reload');
    expect((await get('/plugin/looks/assets/x.txt')).text).toBe('one');
    await rename(folder('.one/sub'), folder('.two/sub'));
    await symlink('../.two/sub', folder('.one/sub'));
    expect((await get('/plugin/looks/assets/x.txt')).status).toBe(404);
    await operator('POST', '/v1/plugins/reload');
    expect((await get('/plugin/looks/assets/x.txt')).text).toBe('one');
    for (const one of ['.one', '.two']) await rm(folder(one), { recursive: true });
  });

  test('may be an archive, also with a program that has a copy of its own', async () => {
    const run = 'interface: raw\nexec: [run.sh]\n';
    const archive = zipOf({
      'sent/sent.yml': `name: Sent\nui: { css: [x.css], assets: {/: .} }\n`,
      'sent/x.css': 'sent {}',
      'runs/runs.yml': `name: Runs\n${run}ui: { css: [x.css], assets: {/: .} }\n`,
      'runs/run.sh':
        '#!/bin/sh\ncd "$(dirname "$0")" && echo told > told.txt && ln -s /etc/hostname host.txt\necho "{}"\n',
      'runs/x.css': 'runs {}',
    });
    const headers = { authorization: 'Bearer operator-token', 'content-type': 'application/zip' };
    const sent = await service.fetch('/v1/plugins', { method: 'POST', body: new Uint8Array(archive), headers });
    expect(sent.status).toBe(201);
    for (const id of ['sent', 'runs']) {
      expect((await get(`/plugin/${id}/css`)).text).toBe(`${id} {}\n`);
      expect((await get(`/plugin/${id}/assets/x.css`)).text).toBe(`${id} {}`);
    }
    expect((await operator('POST', '/v1/plugins/runs/invocations', { args: {} })).status).toBe(200);
    expect((await get('/plugin/runs/assets/told.txt')).text).toBe('told\n');
    expect((await get('/plugin/runs/assets/host.txt')).status).toBe(404);
  });
});

test('an answer that turns out shorter than it said ends with its connection', async () => {
  const path = join(dir, 'public/shrinking.bin');
  await writeFile(path, '');
  await truncate(path, 64 * 1024 * 1024);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const headers = { authorization: 'Bearer operator-token' };
    request(`${service.url}/plugin/look/assets/shrinking.bin`, { headers }, resolve).on('error', reject).end();
  });
  // Nobody has read more of it yet than fits between us.
  await truncate(path, 1_000);
  await expect(buffer(response)).rejects.toThrow(/aborted/);
});

test('nothing of an answer is left open, however it ends', async () => {
  await writeFile(join(dir, 'public/large.bin'), Buffer.alloc(4 * 1024 * 1024));
  const open = async () => (await readdir('/proc/self/fd')).length;
  await get('/plugin/look/assets/large.bin');
  const before = await open();
  for (const headers of [{}, { 'if-none-match': '*' }, { range: 'bytes=99999999-' }, { range: 'bytes=0-0' }])
    await get('/plugin/look/assets/large.bin', headers);
  const gone = new AbortController();
  const response = await fetch(`${service.url}/plugin/look/assets/large.bin`, {
    headers: { authorization: 'Bearer operator-token' },
    signal: gone.signal,
  });
  gone.abort();
  await response.text().catch(() => undefined);
  await expect.poll(open).toBeLessThanOrEqual(before);
  expect(service.log().filter(({ msg }) => msg === 'bug')).toEqual([]);
});
