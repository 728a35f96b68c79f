// Goal: only whoever holds a token of ours, or could read what we answered, may change anything by way of a plugin.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { portrait, server, startFakeService } from '../../support/fake.ts';
import { FakeServers, FakeUpstream } from '../../support/fake-servers.ts';
import type { Overrides } from '../../support/overrides.ts';

const TOKEN = 'operator-token';

/** A service with one server plugin, which answers what cookies it was sent. */
async function serving(config: Overrides) {
  const scope = new AsyncDisposableStack();
  const http = createServer((req, res) => {
    if (req.url?.endsWith('/endless') !== true) req.resume().once('end', () => res.end(req.headers.cookie ?? 'none'));
    else {
      const ticking = setInterval(() => res.write('.'), 50);
      res.once('close', () => clearInterval(ticking));
    }
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  scope.defer(() => void http.close());
  const servers = new FakeServers();
  servers.upstreams.set('echo', new FakeUpstream((http.address() as AddressInfo).port));
  const service = scope.use(await startFakeService({ plugins: [server({ id: 'echo' })], servers, config }));
  service.runtime.residents.portraits.set('echo', portrait({ serves: { id: 'echo', routes: [] } }));
  await service.ask('POST', '/v1/plugins/echo/enable', { token: config.tokens === undefined ? undefined : TOKEN });
  return { service, [Symbol.asyncDispose]: () => scope.disposeAsync() };
}

test('without a token of ours, what is no reading needs what GET /csrf-token has answered', async () => {
  await using one = await serving({ sillytavern: { enabled: true, pages: 'same-origin' } });
  const { service } = one;
  const ask = (method: string, headers: Record<string, string> = {}) =>
    service.fetch('/api/plugins/echo/x', { method, headers });
  for (const method of ['GET', 'HEAD', 'OPTIONS']) expect((await ask(method)).status).toBe(200);
  expect((await ask('GET')).headers.get('content-security-policy')).toBeNull();
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    const { status, body } = await ask(method);
    expect([method, status, body.code]).toEqual([method, 403, 'forbidden']);
    expect(body.detail).toContain('GET /csrf-token');
  }

  const { body, headers } = await service.get('/csrf-token');
  const [set = '', ...others] = headers.getSetCookie();
  expect(others).toEqual([]);
  expect(set).toMatch(/^isopod-session=[^;]+; Path=\/; HttpOnly; SameSite=Strict$/);
  expect(headers.get('cache-control')).toBe('no-store');
  const cookie = set.split(';', 1)[0] ?? '';
  const shown = { 'x-csrf-token': body.token, cookie: `theirs=1; ${cookie}` };
  // The plugin sees neither.
  expect(await ask('POST', shown)).toMatchObject({ status: 200, text: 'theirs=1' });
  const again = await service.get('/csrf-token', { cookie });
  expect(again.headers.getSetCookie()).toEqual([]);
  expect((await ask('POST', { 'x-csrf-token': again.body.token, cookie })).status).toBe(200);

  const forged = [
    { 'x-csrf-token': body.token },
    { cookie },
    { 'x-csrf-token': 'wrong', cookie },
    { 'x-csrf-token': body.token, cookie: `isopod-session=${cookie.split('=')[1]}x` },
    { 'x-csrf-token': body.token, cookie: 'isopod-session=' },
    { 'x-csrf-token': '', cookie },
  ];
  for (const headers of forged) expect([headers, (await ask('POST', headers)).status]).toEqual([headers, 403]);
});

test('whoever shows a token of ours needs no other', async () => {
  await using one = await serving({ tokens: [TOKEN], sillytavern: { enabled: true } });
  const { service } = one;
  const ask = async (method: string, token?: string) =>
    (await service.ask(method, '/api/plugins/echo/x', { token })).status;
  expect([await ask('GET'), await ask('POST'), await ask('POST', 'another-token')]).toEqual([401, 401, 401]);
  expect(await ask('POST', TOKEN)).toBe(200);

  await service.ask('POST', '/v1/tenants', {
    token: TOKEN,
    body: { id: 'acme', name: 'Acme', enableServerPlugins: true },
  });
  const made = await service.ask('POST', '/v1/tenants/default/tokens', {
    token: TOKEN,
    body: { name: 'runs', scopes: ['invoke'] },
  });
  expect(await ask('DELETE', made.body.secret)).toBe(200);
  const authorization = `Bearer ${made.body.secret}`;
  const endless = await fetch(`${service.url}/api/plugins/echo/endless`, { headers: { authorization } });
  const ended = expect(endless.text()).rejects.toThrow();
  await service.ask('DELETE', `/v1/tenants/default/tokens/${made.body.id}`, { token: TOKEN });
  // What goes on for long is looked at again.
  await ended;
  expect(service.log().find(({ code, msg }) => msg === 'served' && code === 'unauthenticated')).toBeDefined();
  const other = await service.ask('POST', '/v1/tenants/acme/tokens', {
    token: TOKEN,
    body: { name: 'theirs', scopes: ['admin'] },
  });
  // The plugin of another tenant is as none at all.
  const theirs = await service.ask('GET', '/api/plugins/echo/x', { token: other.body.secret });
  const nobodys = await service.ask('GET', '/api/plugins/nobody/x', { token: other.body.secret });
  expect([theirs.status, nobodys.status]).toEqual([404, 404]);
  expect(theirs.body.detail.replace('echo', 'nobody')).toBe(nobodys.body.detail);
});

test('where nothing is checked, the token says so as clients know it', async () => {
  await using one = await serving({ sillytavern: { enabled: true, csrf: 'off' } });
  const { body, headers } = await one.service.get('/csrf-token');
  expect(body).toEqual({ token: 'disabled' });
  expect(headers.getSetCookie()).toEqual([]);
  expect((await one.service.fetch('/api/plugins/echo/x', { method: 'POST' })).status).toBe(200);
});

test('where server plugins are off, it is said how to have them', async () => {
  await using one = await serving({});
  const { status, body } = await one.service.get('/api/plugins/echo/x');
  expect([status, body.code]).toEqual([409, 'plugin_disabled']);
  expect(body.detail).toContain('ISOPOD_SILLYTAVERN_ENABLED');
});
