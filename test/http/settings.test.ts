import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Setting } from '../../src/core/plugin.ts';
import type { Answer } from '../support/client.ts';
import { type FakeService, plugin, startFakeService } from '../support/fake.ts';

const setting = (key: string, type: Setting['type']): Setting => ({ key, type, displayName: key, description: '' });

let service: FakeService;
beforeAll(async () => {
  const settings = [setting('name', 'STRING'), setting('size', 'NUMBER'), setting('on', 'BOOLEAN')];
  const many = Array.from({ length: 20 }, (_, i) => setting(`key${i}`, 'NUMBER'));
  service = await startFakeService({
    plugins: [plugin({ settings }), plugin({ id: 'plain' }), plugin({ id: 'many', settings: many })],
  });
});
afterAll(() => service[Symbol.asyncDispose]());

const URL = '/v1/plugins/demo/settings';

function ask(method: string, body?: unknown, headers: Record<string, string> = {}, url = URL): Promise<Answer> {
  return service.ask(method, url, { body, headers });
}

test('settings are put, merged and taken away, and each change has an ETag of its own', async () => {
  const empty = await ask('GET');
  expect([empty.status, empty.body, empty.headers.get('etag')]).toEqual([200, {}, '"1"']);
  const put = await ask('PUT', { name: 'a', size: 1.5, on: false });
  expect([put.status, put.body]).toEqual([200, { name: 'a', size: 1.5, on: false }]);
  const patched = await ask('PATCH', { size: null, on: true });
  expect(patched.body).toEqual({ name: 'a', on: true });
  expect(new Set([empty, put, patched].map(({ headers }) => headers.get('etag'))).size).toBe(3);
  const got = await ask('GET');
  expect([got.body, got.headers.get('etag')]).toEqual([patched.body, patched.headers.get('etag')]);
  expect((await ask('PUT', {})).body).toEqual({});
  expect((await ask('GET', undefined, {}, '/v1/plugins/plain/settings')).body).toEqual({});
});

test('what the plugin does not declare is refused, and the known ones are named', async () => {
  const { status, body } = await ask('PATCH', { colour: 'blue', size: 1 });
  expect([status, body.code]).toEqual([400, 'invalid_request']);
  expect(body.errors).toEqual([{ pointer: '/colour', detail: 'is not known: it has "name", "size", "on"' }]);
  const none = await ask('PUT', { x: 1 }, {}, '/v1/plugins/plain/settings');
  expect(none.body.errors).toEqual([{ pointer: '/x', detail: 'is not known: it has no settings' }]);
  expect((await ask('PATCH', JSON.parse('{"__proto__": {"size": 1}}'))).status).toBe(400);
});

test('values of another type, or that cannot be kept, are refused', async () => {
  const before = (await ask('GET')).body;
  const wrong = [
    { name: 1 },
    { size: '1' },
    { on: 0 },
    { name: {} },
    { name: 'a\u0000b' },
    { name: 'half a \ud83d' },
    { name: 'x'.repeat(65_537) },
  ];
  for (const body of wrong) expect([body, (await ask('PUT', body)).status]).toEqual([body, 400]);
  expect((await ask('PUT', { name: null })).status).toBe(400);
  expect((await ask('PUT', [])).status).toBe(400);
  expect((await ask('GET')).body).toEqual(before);
});

test('writers at the same time lose nothing, and who writes over what they have not seen gets 412', async () => {
  const url = '/v1/plugins/many/settings';
  const merges = Array.from({ length: 20 }, (_, i) => ask('PATCH', { [`key${i}`]: i }, {}, url));
  for (const { status } of await Promise.all(merges)) expect(status).toBe(200);
  const { body, headers } = await ask('GET', undefined, {}, url);
  expect(Object.keys(body)).toHaveLength(20);

  const seen = { 'if-match': headers.get('etag') ?? '' };
  const writes = await Promise.all(
    Array.from({ length: 10 }, (_, i) => ask(i % 2 === 0 ? 'PUT' : 'PATCH', { key0: 100 + i }, seen, url)),
  );
  const [won, ...others] = writes.filter(({ status }) => status === 200);
  expect(others).toEqual([]);
  for (const late of writes) if (late !== won) expect([late.status, late.body.code]).toEqual([412, 'conflict']);
  expect((await ask('GET', undefined, {}, url)).body).toEqual(won?.body);
});

test('a plugin that is disabled is refused until it is enabled again, and keeps its settings', async () => {
  await ask('PUT', { name: 'kept' });
  const disabled = await service.ask('POST', '/v1/plugins/demo/disable');
  expect([disabled.status, disabled.body.id, disabled.body.enabled]).toEqual([200, 'demo', false]);
  const refused = await service.invoke('demo');
  expect([refused.status, refused.body.code, refused.body.plugin.id]).toEqual([409, 'plugin_disabled', 'demo']);
  expect((await service.get('/v1/plugins/demo')).body.enabled).toBe(false);
  const { plugins } = (await service.get('/v1/plugins')).body;
  expect(plugins.map(({ id, enabled }: { id: string; enabled: boolean }) => [id, enabled])).toEqual([
    ['demo', false],
    ['plain', true],
    ['many', true],
  ]);
  expect((await service.invoke('plain')).status).toBe(200);

  expect((await service.ask('POST', '/v1/plugins/demo/enable')).body.enabled).toBe(true);
  expect((await service.invoke('demo')).status).toBe(200);
  expect((await ask('GET')).body).toEqual({ name: 'kept' });
});

test('a plugin that is not there has nothing to set', async () => {
  for (const [method, path, body] of [
    ['GET', 'settings'],
    ['PUT', 'settings', {}],
    ['PATCH', 'settings', {}],
    ['POST', 'enable'],
    ['POST', 'disable'],
  ] as const) {
    const answer = await service.ask(method, `/v1/plugins/nope/${path}`, { body });
    expect([method, path, answer.status, answer.body.code]).toEqual([method, path, 404, 'not_found']);
  }
});
