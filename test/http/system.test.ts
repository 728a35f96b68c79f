import { afterAll, beforeAll, expect, test } from 'vitest';
import { FAILURE_CODES } from '../../src/core/failure.ts';
import { type FakeService, startFakeService } from '../support/fake.ts';

let service: FakeService;
beforeAll(async () => {
  service = await startFakeService({});
});
afterAll(() => service[Symbol.asyncDispose]());

test('health and readiness say so in a word', async () => {
  expect((await service.get('/healthz')).body).toEqual({ status: 'ok' });
  expect((await service.get('/readyz')).body).toEqual({ status: 'ready' });
});

test('a runtime that can run nothing makes the service not ready', async () => {
  Object.assign(service.runtime, { unready: () => 'No executor is up' });
  const { status, body } = await service.get('/readyz');
  expect([status, body.code, body.detail]).toEqual([503, 'overloaded', 'No executor is up']);
  Object.assign(service.runtime, { unready: () => null });
});

test('the metrics count invocations by code and runtime, and carry no word of a caller or plugin', async () => {
  await service.invoke('demo', { args: { word: 'sesame' } });
  await service.invoke('sesame');
  await service.invoke('demo', { task: 'sesame' });
  const { text, headers } = await service.get('/metrics');

  expect(headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  expect(text).toContain('isopod_invocations_total{code="ok",runtime="isolate"} 1\n');
  expect(text).toContain('isopod_invocations_total{code="not_found",runtime="none"} 1\n');
  expect(text).toContain('isopod_invocations_total{code="not_found",runtime="isolate"} 1\n');
  expect(text).toContain('isopod_invocation_seconds_count{runtime="isolate"} 2\n');
  expect(text).toContain('isopod_running 0\n');
  expect(text).toContain('isopod_waiting 0\n');
  expect(text).toContain('isopod_plugins 1\n');
  expect(text).toContain('isopod_runtime{what="fakes"} 1\n');
  expect(text).toContain('nodejs_eventloop_lag_seconds');
  expect(text).toContain('process_resident_memory_bytes');
  expect(text).not.toMatch(/sesame|demo|Run/);
});

test('the API reference is made from the schemas and names every route', async () => {
  const { body, status } = await service.get('/openapi.json');
  expect(status).toBe(200);
  expect(body.openapi).toBe('3.1.0');
  expect(Object.keys(body.paths).sort()).toEqual([
    '/api/plugins/events/',
    '/api/plugins/plugins/',
    '/api/plugins/plugins/import/',
    '/api/plugins/plugins/reload/',
    '/api/plugins/plugins/{key}/delete/',
    '/api/plugins/plugins/{key}/enabled/',
    '/api/plugins/plugins/{key}/logo/',
    '/api/plugins/plugins/{key}/run/',
    '/api/plugins/plugins/{key}/settings/',
    '/api/plugins/repos/',
    '/api/plugins/repos/available/',
    '/api/plugins/repos/install/',
    '/api/plugins/repos/plugin-detail/',
    '/api/plugins/repos/preview/',
    '/api/plugins/repos/settings/',
    '/api/plugins/repos/{id}/',
    '/api/plugins/repos/{id}/refresh/',
    '/csrf-token',
    '/graphql',
    '/healthz',
    '/metrics',
    '/plugin/{plugin}/assets',
    '/plugin/{plugin}/assets/{*}',
    '/plugin/{plugin}/css',
    '/plugin/{plugin}/javascript',
    '/problems',
    '/problems/{code}',
    '/readyz',
    '/v1/csp',
    '/v1/events',
    '/v1/hooks',
    '/v1/jobs',
    '/v1/jobs/{job}',
    '/v1/jobs/{job}/cancel',
    '/v1/jobs/{job}/events',
    '/v1/jobs/{job}/redrive',
    '/v1/plugins',
    '/v1/plugins/reload',
    '/v1/plugins/{plugin}',
    '/v1/plugins/{plugin}/data',
    '/v1/plugins/{plugin}/disable',
    '/v1/plugins/{plugin}/enable',
    '/v1/plugins/{plugin}/invocations',
    '/v1/plugins/{plugin}/logs',
    '/v1/plugins/{plugin}/permissions',
    '/v1/plugins/{plugin}/reload',
    '/v1/plugins/{plugin}/routes',
    '/v1/plugins/{plugin}/settings',
    '/v1/schedules',
    '/v1/schedules/{id}',
    '/v1/system/isolation',
    '/v1/system/isolation/check',
    '/v1/tenant',
    '/v1/tenants',
    '/v1/tenants/{tenant}',
    '/v1/tenants/{tenant}/tokens',
    '/v1/tenants/{tenant}/tokens/{token}',
    '/v1/triggers',
    '/v1/triggers/{id}',
    '/v1/ui',
    '/v1/updates',
  ]);
  const { post } = body.paths['/v1/plugins/{plugin}/invocations'];
  const request = post.requestBody.content['application/json'].schema;
  expect(Object.keys(request.properties)).toEqual(['task', 'args', 'limits']);
  expect(request.properties.limits.properties.wallMs).toMatchObject({ type: 'integer', minimum: 1 });
  expect(post.responses['504'].content['application/problem+json'].schema.properties.code.enum).toEqual(FAILURE_CODES);
});

test('what an invocation answers has exactly the members that the API reference shows', async () => {
  const { body } = await service.get('/openapi.json');
  const { responses } = body.paths['/v1/plugins/{plugin}/invocations'].post;
  const answer = responses['200'].content['application/json'].schema;
  const good = (await service.invoke('demo', {}, '?include=logs')).body;
  expect(Object.keys(good).sort()).toEqual(Object.keys(answer.properties).sort());
  expect(Object.keys(good.usage)).toEqual(Object.keys(answer.properties.usage.properties));
  expect(Object.keys(good.timingsMs)).toEqual(Object.keys(answer.properties.timingsMs.properties));

  const problem = responses['404'].content['application/problem+json'].schema;
  const bad = (await service.invoke('nobody', {}, '?include=logs')).body;
  for (const key of Object.keys(bad)) expect(Object.keys(problem.properties)).toContain(key);
  for (const key of problem.required) expect(Object.keys(bad)).toContain(key);
});

test('the page that shows the reference takes nothing from elsewhere and may not be framed', async () => {
  const { status, text, headers } = await service.get('/docs/');
  expect(status).toBe(200);
  expect(text).toContain('swagger-ui');
  expect(text).not.toMatch(/(src|href)="https?:/);
  const policy = headers.get('content-security-policy') ?? '';
  expect(policy).toContain("default-src 'self'");
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).not.toMatch(/unsafe-eval|script-src[^;]*unsafe-inline/);
  expect(headers.get('x-content-type-options')).toBe('nosniff');
  for (const [, file] of text.matchAll(/(?:src|href)="\.?\/?([^"]+\.(?:js|css))"/g)) {
    const path = (file ?? '').startsWith('docs/') ? `/${file}` : `/docs/${file}`;
    expect([path, (await service.get(path)).status]).toEqual([path, 200]);
  }
});

test('every kind of problem has a page, for people and for programs', async () => {
  for (const code of FAILURE_CODES) {
    const page = await service.get(`/problems/${code}`, { accept: 'text/html,application/xhtml+xml' });
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(page.text).toContain(`<code>${code}</code>`);
    expect(page.text.startsWith('<!doctype html>')).toBe(true);
  }
  expect((await service.get('/problems/nothing')).status).toBe(404);
});

test('what is not there is 404, and what cannot be done there is 405 and says what can', async () => {
  expect((await service.get('/')).headers.get('location')).toBe('/docs');
  for (const path of ['/v1', '/v1/plugins/demo/', '/V1/plugins', '/v1/plugins/demo/invocations/x', '/favicon.ico']) {
    const { status, body } = await service.get(path);
    expect([path, status, body.code]).toEqual([path, 404, 'not_found']);
  }
  const cases: [string, string, string][] = [
    ['DELETE', '/v1/plugins', 'GET, HEAD, POST'],
    ['PUT', '/v1/plugins/demo/invocations', 'POST'],
    ['GET', '/v1/plugins/demo/invocations', 'POST'],
    ['POST', '/healthz', 'GET, HEAD'],
    ['OPTIONS', '/v1/plugins', 'GET, HEAD, POST'],
  ];
  for (const [method, path, allow] of cases) {
    const { status, body, headers } = await service.fetch(path, { method });
    expect([method, path, status, body.code]).toEqual([method, path, 405, 'invalid_request']);
    expect(headers.get('allow')).toBe(allow);
  }
});
