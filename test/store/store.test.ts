// What the store promises, on both engines: the private server that we start, and one that DATABASE_URL names.
import { strict as assert } from 'node:assert';
import { hash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Archive } from '../../src/core/store.ts';
import { NO_QUOTAS } from '../../src/core/tenant.ts';
import type { Store } from '../../src/store/store.ts';
import { codeOf, ENGINES, openStoreOn } from '../support/engines.ts';

const scope = new AsyncDisposableStack();
afterAll(() => scope.disposeAsync());

/** An archive, with a tree that it does not have. */
function kept(bytes: Buffer, unpackedBytes = 0): Archive {
  const sha256 = hash('sha256', bytes);
  return { bytes, sha256, treeHash: hash('sha256', sha256), unpackedBytes };
}

describe.each(ENGINES)('on the %s engine', (engine) => {
  let store: Store;
  beforeAll(async () => {
    store = await openStoreOn(engine, scope);
  });

  test('the default tenant is there from the start and cannot be removed', async () => {
    expect(await store.tenants.get('default')).toMatchObject({ id: 'default', limits: {}, trustGroup: null });
    expect(await codeOf(store.tenants.remove('default'))).toBe('conflict');
  });

  test('a tenant is made once, changed, listed and removed', async () => {
    const made = await store.tenants.create('acme', { name: 'Acme', limits: { wallMs: 500 }, quotas: { running: 2 } });
    expect(made).toMatchObject({ id: 'acme', name: 'Acme', limits: { wallMs: 500 }, revision: 1 });
    expect(made.quotas).toEqual({ ...NO_QUOTAS, running: 2 });
    expect(await codeOf(store.tenants.create('acme'))).toBe('conflict');
    expect(await codeOf(store.tenants.create('No Good'))).toBe('invalid_request');

    const changed = await store.tenants.update('acme', { quotas: { jobsWaiting: 5 } }, 1);
    expect(changed).toMatchObject({ name: 'Acme', quotas: { running: 2, jobsWaiting: 5 }, revision: 2 });
    expect(await codeOf(store.tenants.update('acme', { name: 'Late' }, 1))).toBe('conflict');
    expect(await codeOf(store.tenants.update('nobody', {}))).toBe('not_found');

    await store.tenants.create('beta');
    expect((await store.tenants.list()).map(({ id }) => id)).toEqual(['acme', 'beta', 'default']);
    expect((await store.tenants.list({ after: 'acme', limit: 1 })).map(({ id }) => id)).toEqual(['beta']);
    await store.tenants.remove('beta');
    expect(await store.tenants.get('beta')).toBeUndefined();
    expect(await codeOf(store.tenants.remove('beta'))).toBe('not_found');
  });

  test('no token is made for the tenant that has got the name of another', async () => {
    const { createdAt } = await store.tenants.create('ghost');
    const wish = { name: 'x', scopes: ['admin'] } as const;
    await store.tenants.createToken('ghost', wish, createdAt);
    await store.tenants.remove('ghost');
    await store.tenants.create('ghost');
    expect(await codeOf(store.tenants.createToken('ghost', wish, createdAt))).toBe('not_found');
    expect(await store.tenants.tokens('ghost')).toEqual([]);
    await store.tenants.remove('ghost');
  });

  test('a token opens what it was made for until it is revoked or its time is over', async () => {
    await store.tenants.create('keys');
    const { token, secret } = await store.tenants.createToken('keys', { name: 'ci', scopes: ['invoke', 'manage'] });
    expect(secret).toMatch(/^isopod_/);
    expect(await store.tenants.bearer(secret)).toEqual({
      token: token.id,
      tenant: 'keys',
      scopes: ['invoke', 'manage'],
      expiresAt: null,
    });
    expect(await store.tenants.bearer(`${secret}x`)).toBeUndefined();
    expect(JSON.stringify(await store.tenants.tokens('keys'))).not.toContain(secret.slice(-16));

    const past = new Date(Date.now() - 1000);
    const expired = await store.tenants.createToken('keys', { name: 'old', scopes: ['invoke'], expiresAt: past });
    expect(await store.tenants.bearer(expired.secret)).toEqual({ ended: 'expired', at: past });

    expect(await codeOf(store.tenants.revokeToken('default', token.id))).toBe('not_found');
    await store.tenants.revokeToken('keys', token.id);
    expect(await store.tenants.bearer(secret)).toEqual({ ended: 'revoked', at: expect.any(Date) });
    const [first] = await store.tenants.tokens('keys');
    await store.tenants.revokeToken('keys', token.id);
    expect((await store.tenants.tokens('keys'))[0]).toEqual(first);
    expect(await codeOf(store.tenants.createToken('nobody', { name: 'x', scopes: [] }))).toBe('not_found');
  });

  test('configuring one plugin touches no other, and no tenant another', async () => {
    await store.tenants.create('left');
    await store.tenants.create('right');
    const [left, right] = [store.of('left').pluginStates, store.of('right').pluginStates];
    expect(await left.get('a')).toEqual({ enabled: null, everEnabled: false, settings: {}, known: null, revision: 1 });
    await left.replace('a', { colour: 'blue', depth: 3 });
    await left.enable('b', false);
    expect(await left.merge('a', { depth: null, size: [1] })).toMatchObject({
      settings: { colour: 'blue', size: [1] },
    });
    expect(await left.get('a')).toMatchObject({ settings: { colour: 'blue', size: [1] } });
    expect(await left.get('b')).toMatchObject({ enabled: false, settings: {} });
    expect(await right.all()).toEqual(new Map());
    await left.forget('b');
    expect([...(await left.all()).keys()]).toEqual(['a']);
    expect(await codeOf(store.of('nobody').pluginStates.enable('a', true))).toBe('not_found');
  });

  test('writers at the same time lose nothing', async () => {
    await store.tenants.create('crowd');
    const { pluginStates } = store.of('crowd');
    await Promise.all(Array.from({ length: 20 }, (_, i) => pluginStates.merge('p', { [`key${i}`]: i })));
    const { settings, revision } = await pluginStates.get('p');
    expect(Object.keys(settings)).toHaveLength(20);

    const tries = Array.from({ length: 5 }, (_, i) => pluginStates.replace('p', { only: i }, revision));
    const results = await Promise.allSettled(tries);
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  test('keys of settings are data, whatever they are called', async () => {
    const { pluginStates } = store.of('default');
    const odd = JSON.parse('{"__proto__":{"a":1},"constructor":"c","a\\u2028b":"\\ud83d\\ude00"}');
    await pluginStates.replace('odd', odd);
    expect(JSON.stringify((await pluginStates.get('odd')).settings)).toContain('"__proto__":{"a":1}');
  });

  test('a package is kept once, comes back byte for byte, and goes when nobody has it', async () => {
    await store.tenants.create('one');
    await store.tenants.create('two');
    const archive = Buffer.alloc(2_500_000, 'isopod');
    const whole = kept(archive);
    const plugins = [{ plugin: 'p', dialect: 'stash', manifest: 'p/p.yml' }];
    const [one, two] = [store.of('one').packages, store.of('two').packages];
    await Promise.all([one.install(whole, plugins), two.install(whole, plugins)]);

    const [listed] = await one.list();
    expect(listed).toMatchObject({
      plugin: 'p',
      dialect: 'stash',
      manifest: 'p/p.yml',
      bytes: 2_500_000,
      sha256: whole.sha256,
      treeHash: whole.treeHash,
    });
    expect(listed && (await two.archive(listed)).equals(archive)).toBe(true);
    expect(await store.bundles.removeUnused()).toBe(0);

    await one.install(kept(Buffer.from('another')), plugins);
    expect(await one.remove('p')).toBe(true);
    expect(await one.remove('p')).toBe(false);
    expect(await two.list()).toHaveLength(1);
    expect(await store.bundles.removeUnused()).toBe(1);
    expect(listed && (await two.archive(listed)).equals(archive)).toBe(true);
    expect(await codeOf(store.of('nobody').packages.install(whole, plugins))).toBe('not_found');
  });

  test('an installation says what it changed, and the same one again changes nothing', async () => {
    await store.tenants.create('again');
    const { packages } = store.of('again');
    const [first, second] = [kept(Buffer.from('first')), kept(Buffer.from('second'))];
    const [a, b] = ['a', 'b'].map((plugin) => ({ plugin, dialect: 'stash', manifest: `${plugin}.yml` }));
    assert(a !== undefined && b !== undefined);
    expect(await packages.install(first, [a, b])).toEqual({ changed: true, replaced: [] });
    const before = await packages.list();
    expect(await packages.install(first, [a, b])).toEqual({ changed: false, replaced: [] });
    expect(await packages.list()).toEqual(before);
    expect(await packages.install(second, [a])).toEqual({ changed: true, replaced: ['a'] });
    expect((await packages.list()).map(({ plugin, sha256 }) => [plugin, sha256])).toEqual([
      ['a', second.sha256],
      ['b', first.sha256],
    ]);
  });

  test('a tenant keeps as many bytes as its quota allows, also when it installs twice at once', async () => {
    await store.tenants.create('small', { quotas: { storedBytes: 1_000 } });
    const { packages } = store.of('small');
    const install = (plugin: string, bytes: number) =>
      packages.install(kept(Buffer.alloc(bytes, plugin)), [{ plugin, dialect: 'stash', manifest: `${plugin}.yml` }]);
    await install('a', 600);
    expect(await codeOf(install('b', 401))).toBe('quota_exceeded');
    await install('a', 700);
    const both = await Promise.allSettled([install('c', 200), install('d', 200)]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect((await packages.list()).reduce((sum, { bytes }) => sum + bytes, 0)).toBe(900);
    const unpacked = kept(Buffer.from('a bomb'), 95);
    expect(await codeOf(packages.install(unpacked, [{ plugin: 'e', dialect: 'stash', manifest: 'e.yml' }]))).toBe(
      'quota_exceeded',
    );
  });

  test('what was set for a plugin outlives its package, unless it is to be forgotten', async () => {
    await store.tenants.create('fickle');
    const { packages, pluginStates } = store.of('fickle');
    const install = () =>
      packages.install(kept(Buffer.from('p')), [{ plugin: 'p', dialect: 'stash', manifest: 'p.yml' }]);
    await install();
    await pluginStates.replace('p', { key: 1 });
    await packages.remove('p');
    expect((await pluginStates.get('p')).settings).toEqual({ key: 1 });
    await install();
    await packages.remove('p', 'forget');
    expect((await pluginStates.get('p')).settings).toEqual({});
  });

  test('whoever listens hears of every change, and which tenant it is about', async () => {
    const heard: unknown[] = [];
    using _listening = await store.onChange((change) => heard.push(change));
    await store.of('default').pluginStates.enable('x', false);
    await store.tenants.create('heard');
    await vi.waitFor(() => {
      expect(heard).toContainEqual({ table: 'plugin_states', tenant: 'default' });
      expect(heard).toContainEqual({ table: 'tenants', tenant: 'heard' });
    });
  });
});
