import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Dialect } from '../../src/core/plugin.ts';
import { type PluginState, UNTOUCHED } from '../../src/core/store.ts';
import { Limiter } from '../../src/engine/limiter.ts';
import { Quarantine } from '../../src/engine/quarantine.ts';
import { Tenancies, type TenanciesOptions } from '../../src/engine/tenancies.ts';
import type { Tenancy } from '../../src/engine/tenancy.ts';
import { TenantFolders } from '../../src/engine/tenant-folder.ts';
import { Remover } from '../../src/packages/remover.ts';
import { FakeCatalogue, FakeRuntime, plugin, portrait, tenant } from '../support/fake.ts';

let dataDir: string;
let remover: Remover;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'isopod-tenancies-'));
  remover = new Remover();
});
afterEach(async () => {
  remover[Symbol.dispose]();
  await rm(dataDir, { recursive: true, force: true });
});

/** Tenancies over records that the test holds in its hand. */
async function open(ids: readonly string[], more: Partial<TenanciesOptions> = {}) {
  const tenants = new Map(['default', ...ids].map((id) => [id, tenant(id)]));
  const states = new Map<string, ReadonlyMap<string, PluginState>>();
  const loads = vi.fn(async (id: string) => tenants.get(id));
  const runtime = new FakeRuntime(() => Promise.reject(new Error('nothing is run here')));
  const gone = vi.fn();
  const folders = new TenantFolders(dataDir, remover);
  const tenancies = await Tenancies.open({
    records: { tenant: loads, states: async (id) => states.get(id) ?? new Map() },
    limiter: new Limiter({ running: 10, waiting: 10, waitMs: 100 }),
    runtimes: [runtime],
    quarantine: new Quarantine({ offences: 1, windowMs: 1, firstMs: 1, longestMs: 1 }),
    limits: { wallMs: 1_000 } as TenanciesOptions['limits'],
    plugins: { demo: { limits: { wallMs: 500 } } },
    folders,
    catalogueOf: () => new FakeCatalogue([plugin()], []),
    endpoint: () => {
      throw new Error('nobody asks');
    },
    onChange: () => {},
    onGone: gone,
    most: 100,
    idleMs: 60_000,
    ...more,
  });
  return { tenancies, tenants, states, loads, runtime, gone, folders };
}

async function loaded(tenancies: Tenancies, id: string) {
  const tenancy = await tenancies.find(id);
  if (tenancy === undefined) throw new Error(`There is no ${id}`);
  return tenancy;
}

test('a tenant is loaded once, however many ask, and is there at once after that', async () => {
  const { tenancies, loads } = await open(['acme']);
  await using _ = tenancies;
  loads.mockClear();
  const [one, other] = await Promise.all([tenancies.find('acme'), tenancies.find('acme')]);
  expect(one).toBe(other);
  expect(tenancies.find('acme')).toBe(one);
  expect(loads).toHaveBeenCalledTimes(1);
  expect(await tenancies.find('nobody')).toBeUndefined();
  for (const id of ['', 'No', '../etc', 'a/b', 'a\n']) expect(tenancies.find(id)).toBeUndefined();
});

test('those used last stay, those in use stay, and the default stays', async () => {
  const { tenancies, runtime } = await open(['a', 'b', 'c', 'd'], { most: 3 });
  await using _ = tenancies;
  const a = await loaded(tenancies, 'a');
  a.begin(0);
  const b = await loaded(tenancies, 'b');
  runtime.retained.length = 0;
  await loaded(tenancies, 'c');
  expect(tenancies.size).toBe(3);
  expect(tenancies.find('a')).toBe(a);
  expect(tenancies.find('b')).toBeInstanceOf(Promise);
  expect(runtime.retained.map(({ size }) => size)).toContain(0);
  a.end();
  await loaded(tenancies, 'b');
  await loaded(tenancies, 'd');
  expect(tenancies.find('a')).toBeInstanceOf(Promise);
  expect(tenancies.find('default')).toBe(tenancies.default);
  expect(await tenancies.find('b')).not.toBe(b);
});

test('who has been idle for too long is let go of', async () => {
  const { tenancies } = await open(['acme', 'busy'], { idleMs: 50 });
  await using _ = tenancies;
  const [, busy] = await Promise.all([loaded(tenancies, 'acme'), loaded(tenancies, 'busy')]);
  busy.begin(performance.now());
  await vi.waitUntil(() => tenancies.size === 2, { timeout: 5_000 });
  expect(tenancies.find('busy')).toBe(busy);
  busy.end();
});

test('limits are the general ones, lowered for the plugin and by the tenant, and the same object while they stay', async () => {
  const { tenancies, tenants, runtime } = await open(['acme']);
  await using _ = tenancies;
  const acme = await loaded(tenancies, 'acme');
  const [general, demo] = [acme.limits(), acme.limits('demo')];
  expect([general.wallMs, demo.wallMs, acme.limits('other')]).toEqual([1_000, 500, general]);
  tenants.set('acme', tenant('acme', { name: 'Another' }));
  await tenancies.refresh('acme', 'tenants');
  expect(acme.tenant.name).toBe('Another');
  expect(acme.limits('demo')).toBe(demo);
  tenants.set('acme', tenant('acme', { limits: { wallMs: 700 } }));
  await tenancies.refresh('acme', 'tenants');
  expect([acme.limits().wallMs, acme.limits('demo').wallMs]).toEqual([700, 500]);

  runtime.retained.length = 0;
  tenants.set('acme', tenant('acme', { limits: { wallMs: 700 }, trustGroup: 'beta' }));
  await tenancies.refresh('acme', 'tenants');
  // No tenant can be called like a group.
  expect(acme.trust).toBe('group beta');
  expect(runtime.retained.map(({ size }) => size)).toEqual([0]);
});

test('server plugins are off unless the configuration says otherwise of the default tenant, or a record of its own', async () => {
  const settled: string[] = [];
  const residencies = {
    settle: ({ id }: Tenancy) => void settled.push(id),
    retain: async () => {},
    houses: () => false,
  };
  const server = plugin({ id: 'server', dialect: 'sillytavern', program: { runtime: 'node', file: null } });
  const catalogueOf = () => new FakeCatalogue([plugin(), server], []);
  const { tenancies, tenants, states } = await open(['acme'], { residencies, catalogueOf, servesPlugins: true });
  await using _ = tenancies;
  const acme = await loaded(tenancies, 'acme');
  expect([tenancies.default.servesPlugins, acme.servesPlugins]).toEqual([true, false]);
  const told = () => [acme.isEnabled('server'), acme.isSwitchedOn('server'), acme.heldBack('server') !== null];
  expect(told()).toEqual([false, false, false]);
  states.set('acme', new Map([['server', { ...UNTOUCHED, enabled: true }]]));
  await tenancies.refresh('acme', 'plugin_states');
  expect([told(), acme.isEnabled('demo'), acme.heldBack('demo')]).toEqual([[false, true, true], true, null]);

  settled.length = 0;
  const change = async (enableServerPlugins: boolean | null) => {
    tenants.set('acme', tenant('acme', { enableServerPlugins }));
    await tenancies.refresh('acme', 'tenants');
    return [told(), settled.splice(0)];
  };
  expect(await change(true)).toEqual([[true, true, false], ['acme']]);
  expect(await change(true)).toEqual([[true, true, false], []]);
  expect(await change(null)).toEqual([[false, true, true], ['acme']]);
  expect(await change(false)).toEqual([[false, true, true], []]);
  tenants.set('default', tenant('default', { enableServerPlugins: false }));
  await tenancies.refresh('default', 'tenants');
  expect([tenancies.default.servesPlugins, settled]).toEqual([false, ['default']]);
});

test('what the code of a plugin of another format has said under its id is nothing that it says', async () => {
  const server = plugin({ id: 'server', dialect: 'sillytavern', program: { runtime: 'node', file: null } });
  const { tenancies, states } = await open([], {
    catalogueOf: () => new FakeCatalogue([server], []),
    servesPlugins: true,
  });
  await using _ = tenancies;
  const said = async (dialect: Dialect) => {
    const known = { dialect, portrait: portrait({ actions: [{ id: 'x', label: 'X' }] }), isLoaded: true, source: null };
    states.set('default', new Map([['server', { ...UNTOUCHED, enabled: true, known }]]));
    await tenancies.refresh('default', 'plugin_states');
    return tenancies.default.portrait(server).name;
  };
  expect([await said('sillytavern'), await said('dispatcharr')]).toEqual(['Stays', 'server']);
});

test('a change that comes while a tenant is being loaded is not missed', async () => {
  const reading = Promise.withResolvers<void>();
  let states: ReadonlyMap<string, PluginState> = new Map();
  const { tenancies } = await open([], {
    records: {
      tenant: async (id) => tenant(id),
      states: async (id) => {
        const found = states;
        if (id === 'acme') await reading.promise;
        return found;
      },
    },
  });
  await using _ = tenancies;
  const loading = tenancies.find('acme');
  await vi.waitUntil(() => existsSync(join(dataDir, 'tenants', 'acme', '.tenant')));
  states = new Map([['demo', { enabled: false, everEnabled: false, settings: {}, known: null, revision: 2 }]]);
  const heard = tenancies.refresh('acme', 'plugin_states');
  reading.resolve();
  await heard;
  expect((await loading)?.isEnabled('demo')).toBe(false);
});

test('a database that does not answer leaves what is known, and is asked again', async () => {
  const { tenancies, tenants, loads } = await open(['acme']);
  await using _ = tenancies;
  const acme = await loaded(tenancies, 'acme');
  tenants.set('acme', tenant('acme', { name: 'Another' }));
  loads.mockRejectedValueOnce(new Error('connection refused'));
  tenancies.hear({ table: 'tenants', tenant: 'acme' });
  await vi.waitUntil(() => acme.tenant.name === 'Another', { timeout: 5_000 });
  expect(tenancies.find('acme')).toBe(acme);

  loads.mockRejectedValueOnce(new Error('connection refused'));
  await expect(tenancies.find('other')).rejects.toThrow('connection refused');
  expect(await tenancies.find('other')).toBeUndefined();
});

test('when changes may have gone unheard everything that is loaded is looked at, and no folder is removed', async () => {
  const { tenancies, tenants, states, gone, folders } = await open(['acme', 'beta']);
  await using _ = tenancies;
  const [acme, beta] = [await loaded(tenancies, 'acme'), await loaded(tenancies, 'beta')];
  states.set(
    'acme',
    new Map([['demo', { enabled: false, everEnabled: false, settings: {}, known: null, revision: 2 }]]),
  );
  tenants.delete('beta');
  tenancies.hear(undefined);
  await vi.waitUntil(() => !acme.isEnabled('demo') && beta.isGone);
  await vi.waitUntil(() => gone.mock.calls.length === 1);
  expect(gone).toHaveBeenCalledWith('beta');
  expect(await folders.has('beta')).toBe(true);
  expect(await tenancies.find('beta')).toBeUndefined();
});

test('a tenant that is told to be gone leaves nothing, once nothing of it runs', async () => {
  const { tenancies, tenants, gone, folders } = await open(['acme', 'unloaded']);
  await using _ = tenancies;
  const acme = await loaded(tenancies, 'acme');
  acme.begin(performance.now());
  tenants.delete('acme');
  const leaving = tenancies.refresh('acme', 'tenants');
  await vi.waitUntil(() => gone.mock.calls.length === 1);
  expect(await folders.has('acme')).toBe(true);
  // What still runs may be what asks.
  expect(await tenancies.again(acme)).toBeUndefined();
  acme.end();
  await leaving;
  expect(await folders.has('acme')).toBe(false);

  await folders.open(tenant('unloaded'));
  await tenancies.refresh('unloaded', 'tenants');
  expect(await folders.has('unloaded')).toBe(true);
  tenants.delete('unloaded');
  await tenancies.refresh('unloaded', 'tenants');
  expect(await folders.has('unloaded')).toBe(false);
});
