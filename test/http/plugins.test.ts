import { afterEach, expect, test } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import type { Entry, Plugin } from '../../src/core/plugin.ts';
import { type FakeService, plugin, report, startFakeService } from '../support/fake.ts';

let service: FakeService;
afterEach(() => service[Symbol.asyncDispose]());

const hook: Entry = {
  kind: 'hook',
  name: 'H',
  description: '',
  execArgs: [],
  defaultArgs: {},
  triggeredBy: ['Scene.Create.Post'],
};
const rich: Plugin = plugin({
  id: 'rich',
  entries: [...plugin().entries, hook],
  settings: [{ key: 'limit', type: 'NUMBER', displayName: 'Limit', description: 'how many' }],
});

test('the list has what each plugin offers, and the manifests that were refused', async () => {
  const refusal = { file: 'stash/bad/bad.yml', line: 3, column: 1, reason: 'field foo is not known' };
  service = await startFakeService({ plugins: [rich], refused: [refusal] });
  const { status, body } = await service.get('/v1/plugins');

  expect(status).toBe(200);
  expect(body).toEqual({
    plugins: [
      {
        id: 'rich',
        dialect: 'stash',
        name: 'Demo',
        description: null,
        url: null,
        version: '1.0',
        heldBack: null,
        enabled: true,
        package: null,
        program: 'isolate',
        resident: null,
        portrait: null,
        warnings: [],
        permissions: 'complete',
        tasks: [{ name: 'Run', description: 'runs', defaultArgs: { mode: 'run' } }],
        hooks: [{ name: 'H', description: '', triggeredBy: ['Scene.Create.Post'] }],
        settings: rich.settings,
      },
    ],
    refused: [refusal],
    loadedAt: '1970-01-01T00:00:00.000Z',
  });
});

test('one plugin says how it is run and why, and what it may use', async () => {
  service = await startFakeService({ plugins: [rich], config: { plugins: { rich: { limits: { wallMs: 77 } } } } });
  const { body } = await service.get('/v1/plugins/rich');

  expect(body).toMatchObject({
    id: 'rich',
    interface: { runtime: 'isolate', file: 'demo.js' },
    explain: { runtime: 'fake', way: 'as the test says', because: 'it is a test' },
    limits: { wallMs: 77, cpuMs: 10_000 },
    quarantine: null,
    ui: null,
  });
  expect((await service.get('/v1/plugins/poor')).body.code).toBe('not_found');
});

test('a plugin of user interface parts has nothing to explain and nothing to run', async () => {
  const ui = {
    requires: ['a'],
    javascript: ['a.js'],
    css: [],
    assets: {},
    csp: { 'script-src': [], 'style-src': [], 'connect-src': [] },
  };
  service = await startFakeService({ plugins: [plugin({ program: { runtime: 'none' }, entries: [], ui })] });
  expect((await service.get('/v1/plugins/demo')).body).toMatchObject({ explain: null, ui, program: 'none' });
  expect((await service.invoke('demo')).body.code).toBe('plugin_boot_failed');
});

test('a plugin in quarantine shows why and until when, and a changed one is let out by a reload', async () => {
  const failure = new Failure('plugin_timeout', 'Too slow', { rung: 'killed' });
  service = await startFakeService({
    act: async () => ({ ok: false, failure, ...report() }),
    config: { quarantine: { offences: 1 } },
  });
  expect((await service.invoke('demo')).body.rung).toBe('killed');
  const refused = await service.invoke('demo');
  expect([refused.status, refused.body.code]).toEqual([503, 'plugin_quarantined']);
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(50);

  const { quarantine } = (await service.get('/v1/plugins/demo')).body;
  expect(quarantine.evidence).toMatchObject([{ code: 'plugin_timeout', message: 'Too slow' }]);
  expect(Date.parse(quarantine.until)).toBeGreaterThan(Date.now());

  // The same plugin again has not earned anything.
  await service.fetch('/v1/plugins/reload', { method: 'POST' });
  expect((await service.invoke('demo')).body.code).toBe('plugin_quarantined');

  service.catalogue.next = [plugin()];
  await service.fetch('/v1/plugins/reload', { method: 'POST' });
  expect((await service.invoke('demo')).body.code).toBe('plugin_timeout');
});

test('a plugin may be called reload', async () => {
  service = await startFakeService({ plugins: [plugin({ id: 'reload' })] });
  expect((await service.get('/v1/plugins/reload')).body.id).toBe('reload');
  expect((await service.invoke('reload')).status).toBe(200);
  expect((await service.fetch('/v1/plugins/reload', { method: 'POST' })).body.plugins).toBe(1);
});

test('a reload tells what came, changed and went, and what the runtimes may keep', async () => {
  const [stays, goes] = [plugin({ id: 'stays' }), plugin({ id: 'goes' })];
  service = await startFakeService({ plugins: [stays, goes, plugin({ id: 'changes' })] });
  service.catalogue.next = [stays, plugin({ id: 'changes' }), plugin({ id: 'comes' })];

  const { status, body } = await service.fetch('/v1/plugins/reload', { method: 'POST' });
  expect(status).toBe(200);
  expect(body).toEqual({
    plugins: 3,
    refused: 0,
    added: ['comes'],
    changed: ['changes'],
    removed: ['goes'],
    loadMs: 2,
  });
  expect([...(service.runtime.retained[0] ?? [])]).toEqual(service.catalogue.next);
  expect((await service.invoke('goes')).status).toBe(404);
  expect((await service.invoke('comes')).status).toBe(200);
});
