// What the store promises, on both engines: the private server that we start, and one that DATABASE_URL names.
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { NO_QUOTAS } from '../../src/core/tenant.ts';
import type { Store } from '../../src/store/store.ts';
import { codeOf, ENGINES, openStoreOn } from '../support/engines.ts';

const scope = new AsyncDisposableStack();
afterAll(() => scope.disposeAsync());

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
    expect(await store.tenants.bearer(expired.secret)).toBeUndefined();

    expect(await codeOf(store.tenants.revokeToken('default', token.id))).toBe('not_found');
    await store.tenants.revokeToken('keys', token.id);
    expect(await store.tenants.bearer(secret)).toBeUndefined();
    const [first] = await store.tenants.tokens('keys');
    await store.tenants.revokeToken('keys', token.id);
    expect((await store.tenants.tokens('keys'))[0]).toEqual(first);
    expect(await codeOf(store.tenants.createToken('nobody', { name: 'x', scopes: [] }))).toBe('not_found');
  });

  test('configuring one plugin touches no other, and no tenant another', async () => {
    await store.tenants.create('left');
    await store.tenants.create('right');
    const [left, right] = [store.of('left').pluginStates, store.of('right').pluginStates];
    expect(await left.get('a')).toEqual({ enabled: true, settings: {}, revision: 1 });
    await left.replace('a', { colour: 'blue', depth: 3 });
    await left.enable('b', false);
    expect(await left.merge('a', { depth: null, size: [1] })).toMatchObject({
      settings: { colour: 'blue', size: [1] },
    });
    expect(await left.get('a')).toMatchObject({ enabled: true, settings: { colour: 'blue', size: [1] } });
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
    const plugins = [{ plugin: 'p', dialect: 'stash', root: 'p' }];
    const [one, two] = [store.of('one').packages, store.of('two').packages];
    await Promise.all([one.install(archive, plugins), two.install(archive, plugins)]);

    const [listed] = await one.list();
    expect(listed).toMatchObject({ plugin: 'p', dialect: 'stash', root: 'p', bytes: 2_500_000 });
    expect(listed && (await two.archive(listed)).equals(archive)).toBe(true);
    expect(await store.bundles.removeUnused()).toBe(0);

    await one.install(Buffer.from('another'), plugins);
    expect(await one.remove('p')).toBe(true);
    expect(await one.remove('p')).toBe(false);
    expect(await two.list()).toHaveLength(1);
    expect(await store.bundles.removeUnused()).toBe(1);
    expect(listed && (await two.archive(listed)).equals(archive)).toBe(true);
    expect(await codeOf(store.of('nobody').packages.install(archive, plugins))).toBe('not_found');
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
