import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Failure } from '../../../src/core/failure.ts';
import { type FakeService, plugin, startFakeService } from '../../support/fake.ts';
import { parsed, raw, slowly } from '../../support/socket.ts';

const OPERATOR = 'the-operators-own';
const RUN = '/api/plugins/plugins/demo/run/';
const LIST = '/api/plugins/plugins/';

const python = (more: Parameters<typeof plugin>[0]) =>
  plugin({ dialect: 'dispatcharr', program: { runtime: 'python' }, entries: [], portrait: null, ...more });

let folder: string;
let service: FakeService;
const tokens: Record<'manage' | 'invoke' | 'other', string> = { manage: '', invoke: '', other: '' };

beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'isopod-logos-')));
  for (const name of ['demo', 'linked', 'odd']) await mkdir(join(folder, name));
  await writeFile(join(folder, 'demo', 'logo.png'), 'a picture');
  await writeFile(join(folder, 'secret.png'), 'a secret');
  await symlink(join(folder, 'secret.png'), join(folder, 'linked', 'logo.png'));
  await mkdir(join(folder, 'odd', 'logo.png'));
  const at = (id: string) => {
    const dir = join(folder, id);
    return { id, dir, realDir: dir, logo: join(dir, 'logo.png') };
  };
  service = await startFakeService({
    plugins: [python(at('linked')), python(at('demo')), python(at('odd')), plugin({ ...at('demo'), id: 'stash' })],
    tenants: { acme: [python(at('demo'))], other: [] },
    config: { tokens: [OPERATOR], requestBytes: 200_000, packages: { archiveBytes: 100_000 } },
  });
  for (const tenant of ['acme', 'other']) {
    await service.ask('POST', '/v1/tenants', { token: OPERATOR, body: { id: tenant } });
  }
  const token = async (tenant: string, scopes: string[]) =>
    (await service.ask('POST', `/v1/tenants/${tenant}/tokens`, { token: OPERATOR, body: { name: 'x', scopes } })).body
      .secret as string;
  tokens.manage = await token('acme', ['manage']);
  tokens.invoke = await token('acme', ['invoke']);
  tokens.other = await token('other', ['manage']);
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

test('a token is taken in three forms here, and in one everywhere else', async () => {
  const forms: Record<string, string>[] = [
    { authorization: `Bearer ${tokens.invoke}` },
    { authorization: `ApiKey ${tokens.invoke}` },
    { authorization: `apikey   ${tokens.invoke}` },
    { 'x-api-key': tokens.invoke },
    { authorization: 'Basic eDp5', 'x-api-key': tokens.invoke },
  ];
  for (const headers of forms) expect([headers, (await service.get(LIST, headers)).status]).toEqual([headers, 200]);
  const elsewhere = await Promise.all(forms.map(async (headers) => (await service.get('/v1/plugins', headers)).status));
  expect(elsewhere).toEqual([200, 401, 401, 401, 401]);
});

test('who shows no token, or none that counts, is told so as the host tells it', async () => {
  const missing = { detail: 'Authentication credentials were not provided.' };
  const invalid = { detail: 'Invalid token.' };
  const cases: [Record<string, string>, object][] = [
    [{}, missing],
    [{ authorization: 'Basic eDp5' }, missing],
    [{ authorization: 'Bearer nobodys-token' }, invalid],
    [{ 'x-api-key': 'nobodys-token' }, invalid],
    // The first of them counts: it is not tried which one may be right.
    [{ authorization: 'Bearer nobodys-token', 'x-api-key': tokens.manage }, invalid],
    [{ 'x-api-key': `${tokens.manage}, ${tokens.manage}` }, missing],
  ];
  for (const [headers, body] of cases) {
    const answer = await service.get(LIST, headers);
    expect([headers, answer.status, answer.body]).toEqual([headers, 401, body]);
    expect(answer.headers.get('isopod-error-code')).toBe('unauthenticated');
    expect(answer.headers.get('www-authenticate')).toContain('Bearer');
  }
});

test('reading needs a token that may invoke, and everything else one that may manage', async () => {
  const forbidden = { detail: 'You do not have permission to perform this action.' };
  expect((await service.ask('GET', LIST, { token: tokens.invoke })).status).toBe(200);
  const changes: [string, string][] = [
    ['POST', '/api/plugins/plugins/reload/'],
    ['POST', '/api/plugins/plugins/import/'],
    ['POST', RUN],
    ['POST', '/api/plugins/plugins/demo/settings/'],
    ['POST', '/api/plugins/plugins/demo/enabled/'],
    ['DELETE', '/api/plugins/plugins/demo/delete/'],
    ['POST', '/api/plugins/events/'],
    // Neither is there; who may not do such things at all is told that first.
    ['PUT', LIST],
    ['POST', LIST],
  ];
  for (const [method, path] of changes) {
    const { status, body } = await service.ask(method, path, { token: tokens.invoke, body: {} });
    expect([method, path, status, body]).toEqual([method, path, 403, forbidden]);
  }
  expect((await service.ask('POST', LIST, { token: tokens.manage, body: {} })).status).toBe(405);
});

test("a path of another tenant's is answered as if there were no such tenant", async () => {
  const nobody = await service.ask('GET', `/t/nobody${LIST}`, { token: OPERATOR });
  expect([nobody.status, nobody.body]).toEqual([404, { detail: 'Not found.' }]);
  for (const [method, path] of [
    ['GET', `/t/acme${LIST}`],
    ['POST', `/t/acme${RUN}`],
    ['POST', '/t/acme/api/plugins/events/'],
  ] as const) {
    const { status, text } = await service.ask(method, path, { token: tokens.other, body: undefined });
    expect([path, status, text]).toEqual([path, 404, nobody.text]);
  }
  expect((await service.ask('GET', `/t/acme${LIST}`, { token: OPERATOR })).body.plugins).toHaveLength(1);
});

test('an address without its last slash leads to the one with it, by any method and before anybody is asked who they are', async () => {
  const cases: [string, string, string][] = [
    ['GET', '/api/plugins/plugins', '/api/plugins/plugins/'],
    ['POST', '/api/plugins/plugins/reload?a=b?c', '/api/plugins/plugins/reload/?a=b?c'],
    ['DELETE', '/api/plugins/plugins/a%2Fb/delete', '/api/plugins/plugins/a%2Fb/delete/'],
    ['POST', '/t/acme/api/plugins/plugins/demo/run', '/t/acme/api/plugins/plugins/demo/run/'],
    ['GET', '/api/plugins/plugins/demo/logo', '/api/plugins/plugins/demo/logo/'],
  ];
  for (const [method, path, location] of cases) {
    const { status, headers, text } = await service.fetch(path, { method });
    expect([path, status, headers.get('location'), text]).toEqual([path, 301, location, '']);
  }
  // Of a whole address it would depend on the reader where it leads.
  const whole = await raw(
    service.url,
    'GET http://evil.example/api/plugins/plugins HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  );
  expect(whole).toMatch(/^HTTP\/1\.1 404 /);
});

test('whoever has lost their token while they sent a form in parts is nobody', async () => {
  const { body: made } = await service.ask('POST', '/v1/tenants/acme/tokens', {
    token: OPERATOR,
    body: { name: 'short', scopes: ['manage'] },
  });
  const form = '--x\r\nContent-Disposition: form-data; name="action"\r\n\r\nx\r\n--x--\r\n';
  const sent = { method: 'POST', path: RUN, token: made.secret, body: form, type: 'multipart/form-data; boundary=x' };
  const slow = await slowly(service.url, sent);
  await service.ask('DELETE', `/v1/tenants/acme/tokens/${made.id}`, { token: OPERATOR });
  const { status, body } = parsed(await slow.finish());
  expect([status, body]).toEqual([401, { detail: 'Invalid token.' }]);
});

test('a plugin of another format is not there to be deleted', async () => {
  const { status, body } = await service.ask('DELETE', '/api/plugins/plugins/stash/delete/', { token: OPERATOR });
  expect([status, body]).toEqual([200, { success: true }]);
  expect((await service.ask('GET', '/v1/plugins/stash', { token: OPERATOR })).status).toBe(200);
});

test('what is not there is not found, whoever asks', async () => {
  for (const path of [
    '/api/plugins/',
    '/api/plugins',
    // What could be a plugin's is asked for there.
    '/api/plugins/no.address/',
    '/api/plugins/plugins/a/b/c/',
    '/api/plugins/events/x',
    '/api/plugins/plugins/demo/',
    '/t/acme/api/plugins/no.address/x',
  ]) {
    const { status, body, headers } = await service.fetch(path, { method: 'POST', body: 'x' });
    expect([path, status, body]).toEqual([path, 404, { detail: 'Not found.' }]);
    expect(headers.get('isopod-error-code')).toBe('not_found');
  }
});

test('bodies are taken in three forms, each with its bounds', async () => {
  const send = (body: string | FormData, type?: string) =>
    service.fetch(RUN, {
      method: 'POST',
      body,
      headers: { authorization: `Bearer ${OPERATOR}`, ...(type === undefined ? {} : { 'content-type': type }) },
    });
  const parts = (fields: [string, string | Blob][]) => {
    const form = new FormData();
    for (const [name, value] of fields) form.append(name, value);
    return form;
  };
  const FORM = 'application/x-www-form-urlencoded';
  const disabled = [403, { success: false, error: 'Plugin is disabled' }];
  const missing = [400, { success: false, error: "Missing 'action'" }];
  const cases: [string, () => Promise<{ status: number; body: unknown }>, unknown[]][] = [
    ['JSON', () => send('{"action":"x"}', 'application/json; charset=utf-8'), disabled],
    ['JSON that is a list', () => send('["action"]', 'application/json'), missing],
    ['JSON that is nothing', () => send('', 'application/json'), missing],
    ['a form', () => send('action=x', FORM), disabled],
    ['a form with more fields than anybody sends', () => send(`${'a=b&'.repeat(40)}action=x`, FORM), missing],
    ['a form that has it twice', () => send('action=&action=x', FORM), disabled],
    ['a form with a name that every object knows', () => send('__proto__=x&toString=y', FORM), missing],
    ['parts', () => send(parts([['action', 'x']])), disabled],
    [
      'parts that have it twice',
      () =>
        send(
          parts([
            ['action', ''],
            ['action', 'x'],
          ]),
        ),
      disabled,
    ],
    [
      'parts without an end',
      () => send('--x\r\nContent-Disposition: form-data; name="action"\r\n\r\nx', 'multipart/form-data; boundary=x'),
      [400],
    ],
    ['parts without a boundary', () => send('x', 'multipart/form-data'), [400]],
    [
      'parts with a file',
      () =>
        send(
          parts([
            ['action', 'x'],
            ['file', new Blob(['x'])],
          ]),
        ),
      [413],
    ],
    ['more parts than anybody sends', () => send(parts(Array.from({ length: 40 }, (_, at) => [`f${at}`, 'x']))), [413]],
    ['a part with a name that every object knows', () => send(parts([['__proto__', 'x']])), [400]],
    [
      'a part that says it is JSON',
      () =>
        send(
          '--x\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n[[]]\r\n--x--\r\n',
          'multipart/form-data; boundary=x',
        ),
      [400],
    ],
    ['broken JSON', () => send('{', 'application/json'), [400]],
    ['JSON that is too deep', () => send('['.repeat(300), 'application/json'), [400]],
    ['too much JSON', () => send(' '.repeat(200_001), 'application/json'), [413]],
    ['too large a form', () => send('a'.repeat(1_048_577), FORM), [413]],
    ['too many parts in all', () => send(parts([['action', 'x'.repeat(200_001)]])), [413]],
    ['text', () => send('x', 'text/plain'), [415, { detail: 'Unsupported media type "text/plain" in request.' }]],
  ];
  for (const [what, ask, [status, body]] of cases) {
    const answer = await ask();
    expect([what, answer.status, body ?? (answer.body as { detail: string }).detail]).toEqual([
      what,
      status,
      body === undefined ? expect.any(String) : answer.body,
    ]);
  }
  expect((await send('{', 'application/json')).body.detail).toMatch(/^JSON parse error - /);
});

test('a logo is shown to anybody, and says nothing of what it does not show', async () => {
  const demo = await service.get('/api/plugins/plugins/demo/logo/');
  expect([demo.status, demo.text, demo.headers.get('content-type')]).toEqual([200, 'a picture', 'image/png']);
  expect(demo.headers.get('x-content-type-options')).toBe('nosniff');
  expect(demo.headers.get('content-security-policy')).toContain('sandbox');
  const again = await service.get('/api/plugins/plugins/demo/logo/', {
    'if-none-match': demo.headers.get('etag') ?? '',
  });
  expect(again.status).toBe(304);
  expect((await service.get('/t/acme/api/plugins/plugins/demo/logo/')).status).toBe(200);

  const nobody = await service.get('/api/plugins/plugins/nobody/logo/');
  expect([nobody.status, nobody.body]).toEqual([404, { success: false, error: 'Logo not found' }]);
  const without = ['/plugins/linked', '/plugins/odd', '/plugins/stash', '/plugins/a%2F..%2Fdemo', '/plugins/..%2Fdemo'];
  const paths = [
    ...without.map((path) => `/api/plugins${path}/logo/`),
    '/t/other/api/plugins/plugins/demo/logo/',
    '/t/nobody/api/plugins/plugins/demo/logo/',
  ];
  for (const path of paths) {
    const { status, text } = await service.get(path);
    expect([path, status, text]).toEqual([path, 404, nobody.text]);
  }
  // A token that counts for nothing does not change that.
  expect((await service.get('/api/plugins/plugins/demo/logo/', { authorization: 'Bearer x' })).status).toBe(200);
  for (const key of ['.', '..', '%2e', '%2e%2e']) {
    const line = `GET /api/plugins/plugins/${key}/logo/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
    const { status, body } = parsed(await raw(service.url, line));
    expect([key, status, body]).toEqual([key, 400, { success: false, error: 'Invalid plugin path' }]);
  }
});

test('the address of a logo is whole, and leads to it without a token', async () => {
  const list = async (token: string, headers: Record<string, string> = {}) =>
    (await service.ask('GET', LIST, { token, headers })).body.plugins as { key: string; logo_url: string | null }[];
  const all = await list(OPERATOR);
  expect(all.map(({ key, logo_url }) => [key, logo_url])).toEqual([
    ['demo', `${service.url}/api/plugins/plugins/demo/logo/`],
    ['linked', `${service.url}/api/plugins/plugins/linked/logo/`],
    ['odd', `${service.url}/api/plugins/plugins/odd/logo/`],
  ]);
  const [acme] = await list(tokens.invoke);
  expect(acme?.logo_url).toBe(`${service.url}/t/acme/api/plugins/plugins/demo/logo/`);
  // What whoever stands in between says counts for nothing, and no host is taken that is none.
  const [proxied] = await list(tokens.invoke, { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' });
  expect(proxied?.logo_url).toBe(acme?.logo_url);
  const head = `GET ${LIST} HTTP/1.1\r\nConnection: close\r\nX-API-Key: ${tokens.invoke}\r\n`;
  for (const host of ['a"b', 'user@host', 'a/b']) {
    const { body } = parsed(await raw(service.url, `${head}Host: ${host}\r\n\r\n`));
    expect([host, body.plugins[0].logo_url]).toEqual([host, '/t/acme/api/plugins/plugins/demo/logo/']);
  }
});

test('who asks too often is told when to come back', async () => {
  await service.ask('PATCH', '/v1/tenants/other', { token: OPERATOR, body: { quotas: { requestsPerSecond: 1 } } });
  const answer = await vi.waitUntil(async () => {
    const one = await service.ask('GET', LIST, { token: tokens.other });
    return one.status === 429 ? one : undefined;
  });
  expect(answer.body).toEqual({ detail: 'Request was throttled. Expected available in 1 second.' });
  expect(answer.headers.get('retry-after')).toBe('1');
});

test('a plugin that cannot be started is enabled all the same, and is not loaded', async () => {
  service.runtime.residents.unfit.set('odd', new Failure('plugin_boot_failed', 'SyntaxError'));
  const answer = await service.ask('POST', '/api/plugins/plugins/odd/enabled/', {
    token: OPERATOR,
    body: { enabled: true },
  });
  expect([answer.status, answer.body]).toMatchObject([
    200,
    { success: true, enabled: true, plugin: { enabled: true, loaded: false } },
  ]);
  const { asked } = service.runtime.residents;
  await service.ask('POST', '/api/plugins/plugins/demo/enabled/', { token: OPERATOR, body: { enabled: true } });
  const before = asked.length;
  await service.ask('POST', '/api/plugins/plugins/reload/', { token: OPERATOR });
  expect(asked.slice(before).filter((one) => one.includes('demo'))).toEqual(['stop demo reload', 'start demo']);
  await service.ask('POST', '/api/plugins/plugins/demo/enabled/', { token: OPERATOR, body: { enabled: false } });
  expect(asked).toContain('stop demo disable');
});
