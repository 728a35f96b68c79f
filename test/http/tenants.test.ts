import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Scope } from '../../src/core/tenant.ts';
import type { Answer } from '../support/client.ts';
import { eventsOf } from '../support/events.ts';
import { type FakeService, ok, plugin, startFakeService } from '../support/fake.ts';
import { parsed, raw, slowly } from '../support/socket.ts';

const OPERATOR = 'the-operators-own';

let service: FakeService;
/** What a plugin that is called "hang" waits for. */
let hanging = Promise.withResolvers<void>();

beforeAll(async () => {
  service = await startFakeService({
    plugins: [plugin()],
    tenants: { acme: [plugin({ id: 'own', name: 'Of Acme' }), plugin({ id: 'hang' })], beta: [plugin({ id: 'own' })] },
    act: async ({ tenant, trust, plugin: { id }, limits }, signal) => {
      if (id !== 'hang') return ok({ tenant, trust, wallMs: limits.wallMs });
      hanging.resolve();
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return { ...ok(null), ok: false, failure: signal.reason };
    },
    config: { tokens: [OPERATOR] },
  });
  for (const id of ['acme', 'beta']) await operator('POST', '/v1/tenants', { id });
});
afterAll(() => service[Symbol.asyncDispose]());

function operator(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer> {
  return service.ask(method, path, { token: OPERATOR, body, ...(headers && { headers }) });
}

async function tokenOf(tenant: string, ...scopes: Scope[]): Promise<string> {
  const { body } = await operator('POST', `/v1/tenants/${tenant}/tokens`, { name: 'test', scopes });
  return body.secret;
}

const outcome = ({ status, body }: Answer) => [status, body?.code];

/** What an answer is but for the time it was given at and the id of the invocation. */
function bytes({ status, headers, text }: Answer): string {
  const whole = JSON.stringify([status, text, [...headers].filter(([name]) => name !== 'date')]);
  return whole.replaceAll(headers.get('isopod-invocation') ?? '-', '-');
}

describe('the operator', () => {
  test('makes a tenant, sees it, changes it and removes it', async () => {
    const made = await operator('POST', '/v1/tenants', {
      id: 'made',
      name: 'Made Up',
      limits: { wallMs: 500, cpuMs: 100 },
      quotas: { running: 3 },
      trustGroup: 'friends',
      enableServerPlugins: true,
    });
    expect([made.status, made.headers.get('location'), made.headers.get('etag')]).toEqual([
      201,
      '/v1/tenants/made',
      '"1"',
    ]);
    expect(made.body).toMatchObject({ id: 'made', name: 'Made Up', limits: { wallMs: 500 }, trustGroup: 'friends' });
    expect(made.body.enableServerPlugins).toBe(true);
    expect(made.body.quotas).toEqual({
      running: 3,
      jobsRunning: null,
      jobsWaiting: null,
      requestsPerSecond: null,
      storedBytes: null,
    });
    expect((await operator('GET', '/v1/tenants/made')).body).toEqual(made.body);
    expect(outcome(await operator('POST', '/v1/tenants', { id: 'made' }))).toEqual([409, 'conflict']);

    const changed = await operator('PATCH', '/v1/tenants/made', {
      limits: { wallMs: null },
      quotas: { jobsWaiting: 1 },
    });
    expect(changed.body).toMatchObject({ limits: { cpuMs: 100 }, quotas: { running: 3, jobsWaiting: 1 }, revision: 2 });
    expect(changed.body.limits).not.toHaveProperty('wallMs');

    expect((await operator('DELETE', '/v1/tenants/made')).status).toBe(204);
    expect(outcome(await operator('GET', '/v1/tenants/made'))).toEqual([404, 'not_found']);
    expect(outcome(await operator('DELETE', '/v1/tenants/made'))).toEqual([404, 'not_found']);
    expect(outcome(await operator('DELETE', '/v1/tenants/default'))).toEqual([409, 'conflict']);
  });

  test('lists tenants a page at a time', async () => {
    const first = (await operator('GET', '/v1/tenants?limit=2')).body;
    expect(first.tenants.map(({ id }: { id: string }) => id)).toEqual(['acme', 'beta']);
    expect(first.next).toBe('beta');
    const rest = (await operator('GET', `/v1/tenants?limit=2&after=${first.next}`)).body;
    expect([rest.tenants.map(({ id }: { id: string }) => id), rest.next]).toEqual([['default'], null]);
  });

  test('is told what is wrong with a tenant, and nothing of it is kept', async () => {
    const wrong = [
      { id: 'No Good' },
      { id: 'x'.repeat(64) },
      { id: 'x', name: 'a\u0000b' },
      { id: 'x', limits: { wallMs: 0 } },
      { id: 'x', limits: { unknown: 1 } },
      { id: 'x', quotas: { requestsPerSecond: 0.5 } },
      { id: 'x', trustGroup: 'a group' },
      { id: 'x', enableServerPlugins: 'yes' },
      { id: 'x', revision: 7 },
    ];
    for (const body of wrong) {
      expect([body, ...outcome(await operator('POST', '/v1/tenants', body))]).toEqual([body, 400, 'invalid_request']);
    }
    for (const query of ['after=%00', 'limit=0', 'limit=101', 'limit=x']) {
      expect([query, (await operator('GET', `/v1/tenants?${query}`)).status]).toEqual([query, 400]);
    }
    expect((await operator('GET', '/v1/tenants/%00')).status).toBe(404);
    expect((await operator('GET', '/v1/tenants/x')).status).toBe(404);
  });

  test('who changes what is not there any more overwrites nothing', async () => {
    const { headers } = await operator('GET', '/v1/tenants/beta');
    const seen = { 'if-match': headers.get('etag') ?? '' };
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => operator('PATCH', '/v1/tenants/beta', { name: `Name ${i}` }, seen)),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    for (const late of answers.filter(({ status }) => status !== 200)) expect(outcome(late)).toEqual([412, 'conflict']);
    const stale = await operator('PATCH', '/v1/tenants/beta', { name: 'x' }, { 'if-match': '"999"' });
    expect(outcome(stale)).toEqual([412, 'conflict']);
    for (const strange of ['W/"1"', 'x', '']) {
      const answer = await operator('PATCH', '/v1/tenants/beta', { name: 'x' }, { 'if-match': strange });
      expect([strange, answer.status]).toEqual([strange, 400]);
    }
    expect((await operator('PATCH', '/v1/tenants/beta', { name: 'Beta' }, { 'if-match': '*' })).status).toBe(200);
  });

  test('changes limits, quotas and trust of what is loaded: the next call knows', async () => {
    const run = async () => (await operator('POST', '/t/beta/v1/plugins/own/invocations', {})).body.output;
    expect(await run()).toEqual({ tenant: 'beta', trust: 'beta', wallMs: 30_000 });
    service.runtime.retained.length = 0;
    await operator('PATCH', '/v1/tenants/beta', { limits: { wallMs: 1_234 }, trustGroup: 'acme' });
    // A group is nobody's neighbour because it is called like a tenant.
    expect(await run()).toEqual({ tenant: 'beta', trust: 'group acme', wallMs: 1_234 });
    expect(service.runtime.retained.some((kept) => kept.size === 0)).toBe(true);
    expect((await operator('GET', '/t/beta/v1/plugins/own')).body.limits.wallMs).toBe(1_234);
    await operator('PATCH', '/v1/tenants/beta', { limits: { wallMs: null }, trustGroup: null });
    expect(await run()).toEqual({ tenant: 'beta', trust: 'beta', wallMs: 30_000 });
  });

  test('removes a tenant with its folder and its tokens, and what runs of it is stopped', async () => {
    await operator('DELETE', '/v1/tenants/acme');
    await operator('POST', '/v1/tenants', { id: 'acme' });
    const token = await tokenOf('acme', 'invoke');
    hanging = Promise.withResolvers();
    const running = service.ask('POST', '/v1/plugins/hang/invocations', { token, body: {} });
    await hanging.promise;
    const folder = join(service.config.dataDir, 'tenants', 'acme');
    await writeFile(join(folder, 'file'), 'x');

    expect((await operator('DELETE', '/v1/tenants/acme')).status).toBe(204);
    const { body, status } = await running;
    expect([status, body.code, body.detail]).toEqual([409, 'cancelled', 'The tenant was removed']);
    expect(existsSync(folder)).toBe(false);
    expect(outcome(await service.ask('GET', '/v1/plugins', { token }))).toEqual([401, 'unauthenticated']);
    expect(outcome(await operator('GET', '/t/acme/v1/plugins'))).toEqual([404, 'not_found']);

    await operator('POST', '/v1/tenants', { id: 'acme' });
    expect((await operator('GET', '/t/acme/v1/plugins')).status).toBe(200);
  });

  test('a tenant that gets the name of another does not get its folder, even if that was left behind', async () => {
    const folder = join(service.config.dataDir, 'tenants', 'left');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, '.tenant'), new Date(0).toISOString());
    await writeFile(join(folder, 'secret'), 'x');
    await operator('POST', '/v1/tenants', { id: 'left' });
    expect((await operator('GET', '/t/left/v1/plugins')).status).toBe(200);
    expect(existsSync(join(folder, 'secret'))).toBe(false);
    await operator('DELETE', '/v1/tenants/left');
  });
});

describe('a body that takes its time', () => {
  const task = JSON.stringify({ plugin: 'demo' });
  const writes: [string, string, string][] = [
    ['POST', '/v1/tenants/ghost/tokens', JSON.stringify({ name: 'mine', scopes: ['admin'] })],
    ['POST', '/v1/jobs', task],
    ['PUT', '/v1/schedules/x', JSON.stringify({ ...JSON.parse(task), cron: '* * * * *' })],
    ['PUT', '/v1/plugins/demo/settings', '{"a": 1}'],
    ['POST', '/v1/plugins/demo/invocations', '{"args": {}}'],
    ['POST', '/v1/tenants/ghost/tokens', '{"name": ""}'],
  ];

  test('opens nothing of the tenant that has got the name of the one it began with', async () => {
    await operator('POST', '/v1/tenants', { id: 'ghost' });
    const token = await tokenOf('ghost', 'admin');
    const begun = [];
    for (const [method, path, body] of writes) {
      begun.push(await slowly(service.url, { method, path, token, body }));
    }
    const byOperator = await slowly(service.url, {
      method: 'POST',
      path: '/t/ghost/v1/jobs',
      token: OPERATOR,
      body: task,
    });
    await operator('DELETE', '/v1/tenants/ghost');
    await operator('POST', '/v1/tenants', { id: 'ghost' });
    const fresh = await tokenOf('ghost', 'invoke');
    expect((await service.ask('GET', '/v1/tenant', { token: fresh })).status).toBe(200);

    for (const one of begun) {
      const { status, body } = parsed(await one.finish());
      expect([status, body.code, body.detail]).toEqual([401, 'unauthenticated', 'This token is not known']);
    }
    const { status, body } = parsed(await byOperator.finish());
    expect([status, body.detail]).toEqual([404, 'There is no tenant "ghost"']);
    expect((await operator('GET', '/v1/tenants/ghost/tokens')).body.tokens).toHaveLength(1);
    expect((await operator('GET', '/t/ghost/v1/jobs')).body.jobs).toEqual([]);
    await operator('DELETE', '/v1/tenants/ghost');
  });

  test('opens nothing when its token was revoked or expired meanwhile, and goes on after any other change', async () => {
    const expiresAt = new Date(Date.now() + 1_000);
    const made = { name: 'x', scopes: ['invoke'] };
    const asked = [{ ...made, expiresAt }, made, made];
    const tokens = [];
    for (const one of asked) tokens.push((await operator('POST', '/v1/tenants/beta/tokens', one)).body);
    const begun = [];
    for (const { secret } of tokens) {
      const invocation = { method: 'POST', path: '/v1/plugins/own/invocations', token: secret, body: '{"args": {}}' };
      begun.push(await slowly(service.url, invocation));
    }
    await operator('DELETE', `/v1/tenants/beta/tokens/${tokens[1].id}`);
    await vi.waitUntil(() => Date.now() > expiresAt.getTime(), { timeout: 5_000 });
    const answers = [];
    for (const one of begun) answers.push(parsed(await one.finish()));
    expect(answers.map(({ status, body }) => [status, body.detail])).toEqual([
      [401, `This token expired at ${expiresAt.toISOString()}`],
      [401, 'This token was revoked'],
      [200, undefined],
    ]);
  });
});

test('whoever waits for a job of a tenant that is removed is let go, not after a while', async () => {
  await operator('POST', '/v1/tenants', { id: 'acme' });
  const token = await tokenOf('acme', 'invoke');
  hanging = Promise.withResolvers();
  const waiting = service.ask('POST', '/v1/jobs', {
    token,
    body: { plugin: 'hang' },
    headers: { prefer: 'wait=30' },
  });
  await hanging.promise;
  const { body } = await service.ask('GET', '/v1/jobs', { token });
  const url = `${service.url}/v1/jobs/${body.jobs[0].id}/events`;
  const seen = Promise.withResolvers<void>();
  const stream = eventsOf(url, {
    headers: { authorization: `Bearer ${token}` },
    enough: (events) => {
      if (events.some(({ event }) => event === 'started')) seen.resolve();
      return false;
    },
  });
  await seen.promise;
  await operator('DELETE', '/v1/tenants/acme');
  const { status, body: refusal } = await waiting;
  expect([status, refusal.code]).toEqual([404, 'not_found']);
  expect((await stream).map(({ event }) => event)).not.toContain('outcome');
  await operator('POST', '/v1/tenants', { id: 'acme' });
});

describe('a token', () => {
  test('is told once, listed without what it is, and opens nothing once it is revoked', async () => {
    const made = await operator('POST', '/v1/tenants/beta/tokens', { name: 'ci', scopes: ['invoke'] });
    expect([made.status, made.headers.get('cache-control')]).toEqual([201, 'no-store']);
    const { secret, id } = made.body;
    expect((await service.ask('GET', '/v1/tenant', { token: secret })).status).toBe(200);
    const list = await operator('GET', '/v1/tenants/beta/tokens');
    expect(list.body.tokens.find((one: { id: string }) => one.id === id)).toMatchObject({
      name: 'ci',
      revokedAt: null,
    });
    expect(list.text).not.toContain(secret.slice(-32));

    expect((await operator('DELETE', `/v1/tenants/acme/tokens/${id}`)).status).toBe(404);
    expect((await operator('DELETE', `/v1/tenants/beta/tokens/${id}`)).status).toBe(204);
    expect(outcome(await service.ask('GET', '/v1/tenant', { token: secret }))).toEqual([401, 'unauthenticated']);
    expect((await operator('DELETE', '/v1/tenants/beta/tokens/%00')).status).toBe(404);
  });

  test('says who holds it', async () => {
    const token = await tokenOf('beta', 'manage', 'invoke');
    const { body } = await service.ask('GET', '/v1/tenant', { token });
    expect(body).toMatchObject({
      id: 'beta',
      operator: false,
      scopes: ['manage', 'invoke'],
      quotas: { running: null },
    });
    expect(body.limits.wallMs).toBe(30_000);
    expect((await operator('GET', '/v1/tenant')).body).toMatchObject({ id: 'default', operator: true });
  });

  test('stops at its time, to the moment, although it was just used', async () => {
    for (const expiresAt of ['2020-01-01T00:00:00Z', 'tomorrow']) {
      const refused = await operator('POST', '/v1/tenants/beta/tokens', { name: 'x', scopes: ['invoke'], expiresAt });
      expect(outcome(refused)).toEqual([400, 'invalid_request']);
    }
    const expiresAt = new Date(Date.now() + 1_000);
    const { body } = await operator('POST', '/v1/tenants/beta/tokens', { name: 'x', scopes: ['invoke'], expiresAt });
    const ask = async () => (await service.ask('GET', '/v1/tenant', { token: body.secret })).status;
    expect(await ask()).toBe(200);
    await vi.waitUntil(() => Date.now() > expiresAt.getTime(), { timeout: 5_000 });
    expect(await ask()).toBe(401);
  });

  const reads = ['/v1/plugins', '/v1/plugins/own', '/v1/tenant'];
  const manages: [string, string, unknown?][] = [
    ['POST', '/v1/plugins/reload'],
    ['POST', '/v1/plugins/own/disable'],
    ['POST', '/v1/plugins/own/enable'],
    ['GET', '/v1/plugins/own/settings'],
    ['PUT', '/v1/plugins/own/settings', {}],
    ['PATCH', '/v1/plugins/own/settings', {}],
  ];
  const administers: [string, string][] = [
    ['GET', '/v1/tenants/beta'],
    ['GET', '/v1/tenants/beta/tokens'],
  ];
  const operates: [string, string, unknown?][] = [
    ['GET', '/v1/tenants'],
    ['POST', '/v1/tenants', { id: 'mine' }],
    ['PATCH', '/v1/tenants/beta', { name: 'x' }],
    ['DELETE', '/v1/tenants/beta'],
    ['GET', '/metrics'],
  ];

  test.each([
    ['invoke', [...manages, ...administers]],
    ['manage', administers],
    ['admin', []],
  ] as const)('with the scope %s opens that and what it includes', async (scope, closed) => {
    const token = await tokenOf('beta', scope);
    for (const path of reads) expect([path, (await service.ask('GET', path, { token })).status]).toEqual([path, 200]);
    expect((await service.ask('POST', '/v1/plugins/own/invocations', { token, body: {} })).status).toBe(200);
    for (const [method, path, body] of [...manages, ...administers]) {
      const answer = await service.ask(method, path, { token, body });
      const isClosed = closed.some((one) => one[0] === method && one[1] === path);
      expect([method, path, answer.status]).toEqual([method, path, isClosed ? 403 : 200]);
      if (!isClosed) continue;
      const needed = manages.some((one) => one[1] === path && one[0] === method) ? 'manage' : 'admin';
      expect(answer.body.detail).toBe(`This needs a token with the scope "${needed}"; this one has "${scope}"`);
    }
    for (const [method, path, body] of operates) {
      const answer = await service.ask(method, path, { token, body });
      expect([path, ...outcome(answer), answer.body.detail]).toEqual([
        path,
        403,
        'forbidden',
        'Only an operator of this service may do this',
      ]);
    }
    // Not a matter of scopes.
    expect((await service.ask('GET', '/v1/nowhere', { token })).status).toBe(404);
    expect((await service.ask('PUT', '/v1/plugins', { token })).status).toBe(405);
  });

  test('of an admin makes and revokes tokens of its own tenant, and cannot see its trust group', async () => {
    const token = await tokenOf('beta', 'admin');
    const made = await service.ask('POST', '/v1/tenants/beta/tokens', {
      token,
      body: { name: 'x', scopes: ['invoke'] },
    });
    expect(made.status).toBe(201);
    const path = `/v1/tenants/beta/tokens/${made.body.id}`;
    expect((await service.ask('DELETE', path, { token })).status).toBe(204);
    expect((await service.ask('GET', '/v1/tenants/beta', { token })).body).not.toHaveProperty('trustGroup');
  });
});

describe('what another tenant has', () => {
  test('is answered byte for byte like what does not exist', async () => {
    const token = await tokenOf('beta', 'admin');
    // Both are loaded, and have plugins of the same ids.
    for (const id of ['acme', 'beta']) await operator('GET', `/t/${id}/v1/plugins`);
    const asked: [string, (id: string) => string, unknown?][] = [
      ['GET', (id) => `/t/${id}/v1/plugins`],
      ['GET', (id) => `/t/${id}/v1/plugins/own`],
      ['POST', (id) => `/t/${id}/v1/plugins/own/invocations`, {}],
      ['POST', (id) => `/t/${id}/v1/plugins/own/enable`],
      ['PUT', (id) => `/t/${id}/v1/plugins/own/settings`, {}],
      ['GET', (id) => `/t/${id}/nowhere`],
      ['GET', (id) => `/t/${id}/metrics`],
      ['GET', (id) => `/v1/tenants/${id}`],
      ['GET', (id) => `/v1/tenants/${id}/tokens`],
      ['POST', (id) => `/v1/tenants/${id}/tokens`, { name: 'x', scopes: ['admin'] }],
      ['DELETE', (id) => `/v1/tenants/${id}/tokens/x`],
      ['PATCH', (id) => `/v1/tenants/${id}`, { name: 'x' }],
    ];
    for (const [method, path, body] of asked) {
      const [other, none] = await Promise.all([
        service.ask(method, path('acme'), { token, body }),
        service.ask(method, path('none'), { token, body }),
      ]);
      expect([method, path('acme'), [403, 404].includes(other.status)]).toEqual([method, path('acme'), true]);
      expect(bytes(other).replaceAll('acme', 'none')).toBe(bytes(none));
    }
    // A plugin that only another tenant has, and one that nobody has.
    const [other, none] = await Promise.all(
      ['hang', 'nope'].map((id) => service.ask('GET', `/v1/plugins/${id}`, { token })),
    );
    expect(other && bytes(other).replaceAll('hang', 'nope')).toBe(none && bytes(none));
  });

  test('is not among what is listed', async () => {
    const [acme, beta] = await Promise.all([tokenOf('acme', 'invoke'), tokenOf('beta', 'invoke')]);
    const ids = async (token: string, path = '/v1/plugins') =>
      (await service.ask('GET', path, { token })).body.plugins.map(({ id }: { id: string }) => id);
    expect(await ids(acme)).toEqual(['own', 'hang']);
    expect(await ids(beta)).toEqual(['own']);
    expect(await ids(OPERATOR)).toEqual(['demo']);
    expect(await ids(OPERATOR, '/t/acme/v1/plugins')).toEqual(['own', 'hang']);
  });
});

describe('the path prefix', () => {
  test('names the tenant on any route, and keeps the query', async () => {
    const token = await tokenOf('beta', 'manage');
    const path = '/t/beta/v1/plugins/own/invocations?include=logs';
    const answer = await service.ask('POST', path, { token, body: {} });
    expect([answer.status, answer.body.output.tenant, answer.body.logs]).toEqual([200, 'beta', []]);
    expect((await service.ask('POST', '/t/beta/v1/plugins/reload', { token })).status).toBe(200);
    expect((await service.ask('GET', '/t/beta/healthz')).status).toBe(200);
    expect((await service.ask('GET', '/t/beta/v1/tenant', { token: OPERATOR })).body).toMatchObject({
      id: 'beta',
      operator: true,
    });
  });

  test('counts once, undecoded, and only where it is whole', async () => {
    const strange = [
      '/t/acme',
      '/t/acme?x=/t/acme/v1/plugins',
      '/t//v1/plugins',
      '/t/ACME/v1/plugins',
      '/t/%61cme/v1/plugins',
      '/t/acme%2f/v1/plugins',
      '/t/acme/t/acme/v1/plugins',
      '/t/acme//v1/plugins',
      '//t/acme/v1/plugins',
      '/x/../t/acme/v1/plugins',
      `/t/${'x'.repeat(64)}/v1/plugins`,
      'http://localhost/t/acme/v1/plugins',
    ];
    for (const path of strange) {
      const head = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer`;
      const { status, body } = parsed(await raw(service.url, `${head} ${OPERATOR}\r\n\r\n`));
      expect([path, status, body.code]).toEqual([path, 404, 'not_found']);
    }
    expect((await operator('GET', '/t/acme/nowhere')).body.detail).toBe('There is nothing at GET /t/acme/nowhere');
  });

  test('does not help whoever has no token', async () => {
    expect((await service.get('/t/acme/v1/plugins')).status).toBe(401);
    expect((await service.get('/t/none/v1/plugins')).status).toBe(401);
    expect(
      (await service.ask('GET', '/t/acme/v1/plugins', { token: `isopod_${'x'.repeat(12)}_${'x'.repeat(32)}` })).status,
    ).toBe(401);
  });
});

test('without operators’ tokens a tenant’s token that is shown counts, and one that is revoked opens nothing', async () => {
  await using open = await startFakeService({ tenants: { acme: [plugin({ id: 'own' })] } });
  await open.ask('POST', '/v1/tenants', { body: { id: 'acme' } });
  const { secret, id } = (
    await open.ask('POST', '/v1/tenants/acme/tokens', { body: { name: 'x', scopes: ['invoke'] } })
  ).body;
  expect((await open.ask('GET', '/v1/tenant', { token: secret })).body).toMatchObject({ id: 'acme', operator: false });
  expect((await open.ask('GET', '/v1/tenants', { token: secret })).status).toBe(403);
  expect((await open.ask('GET', '/v1/tenant')).body).toMatchObject({ id: 'default', operator: true });
  expect((await open.ask('GET', '/t/acme/v1/tenant')).body).toMatchObject({ id: 'acme', operator: true });
  await open.ask('DELETE', `/v1/tenants/acme/tokens/${id}`);
  expect((await open.ask('GET', '/v1/tenant', { token: secret })).status).toBe(401);
  // Whoever shows a token means to be somebody: a mangled one must not become an operator.
  expect((await open.ask('GET', '/v1/tenant', { token: 'something-else' })).status).toBe(401);
});
