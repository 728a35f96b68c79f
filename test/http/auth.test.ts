import { request } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isLoopbackAddress } from '../../src/http/auth.ts';
import { type FakeService, startFakeService } from '../support/fake.ts';

let open: FakeService;
let guarded: FakeService;

beforeAll(async () => {
  open = await startFakeService({});
  guarded = await startFakeService({ config: { tokens: ['first-token', 'second-token'] } });
});
afterAll(() => Promise.all([open[Symbol.asyncDispose](), guarded[Symbol.asyncDispose]()]));

// fetch does not let anybody choose these headers.
function ask(url: string, path: string, headers: Record<string, string>) {
  return new Promise<{ status: number; code: string | undefined }>((resolve, reject) => {
    const { port } = new URL(url);
    request({ host: '127.0.0.1', port, path, headers }, (answer) => {
      answer.resume();
      resolve({ status: answer.statusCode ?? 0, code: answer.headers['isopod-error-code'] as string | undefined });
    })
      .on('error', reject)
      .end();
  });
}

test('without a token only a loopback name in Host is answered', async () => {
  const fine = ['localhost', 'LOCALHOST:80', '127.0.0.1', '127.9.8.7:4763', '[::1]', '[::1]:4763'];
  const strange = [
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'evil.example:80',
    '10.0.0.1',
    '0.0.0.0',
    '[::2]',
    'localhost:80:80',
    'x@localhost',
  ];
  for (const host of fine) expect([host, (await ask(open.url, '/v1/plugins', { host })).status]).toEqual([host, 200]);
  for (const host of strange) {
    expect([host, await ask(open.url, '/v1/plugins', { host })]).toEqual([host, { status: 403, code: 'forbidden' }]);
  }
});

test('without a token no page of another origin is answered', async () => {
  const host = new URL(open.url).host;
  const pages: [Record<string, string>, number][] = [
    [{ origin: `http://${host}` }, 200],
    [{ origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }, 200],
    [{ 'sec-fetch-site': 'none' }, 200],
    [{ origin: 'http://evil.example' }, 403],
    [{ origin: 'http://localhost:1' }, 403],
    [{ origin: `https://${host}` }, 403],
    [{ origin: 'null' }, 403],
    [{ 'sec-fetch-site': 'cross-site' }, 403],
    [{ 'sec-fetch-site': 'same-site' }, 403],
  ];
  for (const [headers, status] of pages) {
    expect([headers, (await ask(open.url, '/v1/plugins', { host, ...headers })).status]).toEqual([headers, status]);
  }
});

test('a stranger is refused before the body of the request is read', async () => {
  const answer = await open.invoke('demo', 'not json at all', '', { headers: { origin: 'http://evil.example' } });
  expect([answer.status, answer.body.code]).toEqual([403, 'forbidden']);
  expect(open.lines).toEqual([]);
});

test('with tokens configured each of them opens and nothing else does', async () => {
  const get = (authorization: string) => guarded.get('/v1/plugins', { authorization });
  expect((await get('Bearer first-token')).status).toBe(200);
  expect((await get('bearer second-token')).status).toBe(200);
  for (const wrong of [
    'Bearer first-toke',
    'Bearer first-token2',
    'Bearer',
    'Basic first-token',
    'first-token',
    'Bearer a b',
  ]) {
    const answer = await get(wrong);
    expect([wrong, answer.status, answer.body.code]).toEqual([wrong, 401, 'unauthenticated']);
    expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="isopod"');
  }
  expect((await guarded.get('/v1/plugins')).status).toBe(401);
});

test('with tokens configured everything needs one but health, readiness and the API reference', async () => {
  const known = ['/v1/plugins', '/v1/plugins/demo', '/metrics'];
  // They say nothing about anyone, and a browser that opens them has no token to show.
  for (const path of ['/openapi.json', '/docs/', '/docs/static/swagger-ui.css', '/problems', '/problems/gone']) {
    expect([path, (await guarded.get(path)).status]).toEqual([path, 200]);
  }
  for (const path of [...known, '/nowhere']) expect([path, (await guarded.get(path)).status]).toEqual([path, 401]);
  expect((await guarded.invoke('demo')).status).toBe(401);
  expect((await guarded.fetch('/v1/plugins/reload', { method: 'POST' })).status).toBe(401);
  expect((await guarded.get('/healthz')).status).toBe(200);
  expect((await guarded.get('/readyz')).status).toBe(200);
});

test('an address that others can reach does not start without a token, and says what to do', async () => {
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'example.org']) {
    await expect(startFakeService({ config: { host } })).rejects.toThrow(/there is no token: set ISOPOD_TOKEN/);
  }
  await using service = await startFakeService({ config: { host: '0.0.0.0', tokens: ['a-long-token'] } });
  const host = `evil.example:${new URL(service.url).port}`;
  expect((await ask(service.url, '/v1/plugins', { host, authorization: 'Bearer a-long-token' })).status).toBe(200);
});

test('loopback addresses are told from others', () => {
  for (const one of ['127.0.0.1', '127.1.2.3', '::1', 'localhost'])
    expect([one, isLoopbackAddress(one)]).toEqual([one, true]);
  for (const one of ['0.0.0.0', '::', '127.0.0.1:80', '128.0.0.1', '::ffff:127.0.0.1', 'localhost.example', '']) {
    expect([one, isLoopbackAddress(one)]).toEqual([one, false]);
  }
});
