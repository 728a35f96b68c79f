import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SecretKeys } from '../../src/engine/secret-keys.ts';
import type { Tenancy } from '../../src/engine/tenancy.ts';
import { MASK, UNREADABLE, Vault } from '../../src/engine/vault.ts';
import { portrait, resident } from '../support/fake.ts';

const OLD = 'an old key of more than thirty letters';
const NEW = 'a new key of more than thirty letters';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'isopod-vault-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** As far as a vault asks it. */
function tenancyOf(id: string, ...plugins: string[]): Tenancy {
  const fields = [{ id: 'password', type: 'string' as const, input_type: 'password' }];
  const catalogue = { plugins: new Map(plugins.map((one) => [one, resident({ id: one })])) };
  const tenancy = { id, catalogue, portrait: () => portrait({ fields }), state: () => undefined, settings: () => ({}) };
  return tenancy as unknown as Tenancy;
}

function vaultOf(key: string | undefined, before: string[] = [], dataDir = folder) {
  const unreadable: string[] = [];
  const keys = new SecretKeys({ key, before, dataDir });
  return Object.assign(new Vault({ keys, onUnreadable: ({ key }) => unreadable.push(key) }), { unreadable });
}

const acme = tenancyOf('acme', 'p', 'q');

test('a secret opens with its key, in its place, and nowhere else', () => {
  const vault = vaultOf(NEW);
  const stored = vault.sealed(acme, 'p', { password: 'open sesame', host: 'h' }, {});
  expect(JSON.stringify(stored)).not.toContain('sesame');
  expect(vault.opened(acme, 'p', stored)).toEqual({ password: 'open sesame', host: 'h' });
  expect(vaultOf(NEW).opened(acme, 'p', stored)).toEqual({ password: 'open sesame', host: 'h' });
  // The same text is never sealed to the same.
  expect(vault.sealed(acme, 'p', { password: 'open sesame' }, {})).not.toEqual({ password: stored.password });

  const elsewhere: [Vault, Tenancy, string, Record<string, unknown>][] = [
    [vaultOf(OLD), acme, 'p', stored],
    [vault, tenancyOf('beta', 'p'), 'p', stored],
    [vault, acme, 'q', stored],
    [vault, acme, 'p', { host: stored.password }],
  ];
  for (const [other, tenancy, plugin, settings] of elsewhere) {
    expect(Object.values(other.opened(tenancy, plugin, { ...settings }))).not.toContain('open sesame');
    expect(Object.values(other.shown(tenancy, plugin, settings))).toContain(UNREADABLE);
  }
});

test('whatever of it is changed, it does not open, and that is said once', () => {
  const vault = vaultOf(NEW);
  const { password } = vault.sealed(acme, 'p', { password: 'open sesame' }, {});
  const [name = '', text = ''] = Object.entries(password as Record<string, string>)[0] ?? [];
  for (const at of text.split('').keys()) {
    // The last letter has bits that stand for nothing.
    if (text[at] === '.' || at === text.length - 1) continue;
    const other = `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`;
    expect([at, vault.opened(acme, 'p', { password: { [name]: other } })]).toEqual([at, {}]);
  }
  for (const other of ['', '.', '..', text.slice(0, -30), `${text.split('.')[0]}..`]) {
    expect(vault.opened(acme, 'p', { password: { [name]: other } })).toEqual({});
  }
  expect(new Set(vault.unreadable).size).toBe(vault.unreadable.length);
  expect(vault.unreadable).toContain(text.split('.')[0]);
});

test('a key that was used before still opens, and what is written again is sealed with the present one', () => {
  const stored = vaultOf(OLD).sealed(acme, 'p', { password: 'open sesame', pin: 1 }, {});
  const vault = vaultOf(NEW, [OLD]);
  expect(vault.opened(acme, 'p', stored)).toEqual({ password: 'open sesame', pin: 1 });
  const kept = vault.sealed(acme, 'p', { password: MASK }, stored);
  const renewed = vault.renewed(acme, 'p', stored);
  for (const one of [kept, renewed ?? {}]) {
    expect(vaultOf(NEW).opened(acme, 'p', one)).toMatchObject({ password: 'open sesame' });
  }
  expect(vault.renewed(acme, 'p', renewed ?? {})).toBe(null);
  expect(vaultOf(NEW).renewed(acme, 'p', stored)).toBe(null);
  expect(vaultOf(OLD).unreadable).toEqual([]);
});

test('without a key one is made when it is needed, for this service alone, and is the same ever after', async () => {
  const dataDir = join(folder, 'made', 'later');
  const [vault, beside] = [vaultOf(undefined, [], dataDir), vaultOf(undefined, [], dataDir)];
  expect(vault.sealed(acme, 'p', { host: 'h', password: '' }, {})).toEqual({ host: 'h', password: '' });
  await expect(stat(dataDir)).rejects.toThrow('ENOENT');
  const stored = vault.sealed(acme, 'p', { password: 'open sesame' }, {});
  const file = join(dataDir, 'secrets.key');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  // Whoever was not quick enough takes the one that is there.
  const other = beside.sealed(acme, 'p', { password: 'open sesame' }, {});
  for (const one of [stored, other]) {
    expect(vaultOf(undefined, [], dataDir).opened(acme, 'p', one)).toEqual({ password: 'open sesame' });
    // A key in the configuration counts from now on, and the file is still read.
    expect(vaultOf(NEW, [], dataDir).opened(acme, 'p', one)).toEqual({ password: 'open sesame' });
    expect(vaultOf(await readFile(file, 'utf8').then((text) => text.trim())).opened(acme, 'p', one)).toEqual({
      password: 'open sesame',
    });
  }
  await writeFile(file, 'short');
  expect(() => vaultOf(undefined, [], dataDir)).toThrow(/secrets\.key is no key/);
});
