// What a repository offers, installed for real: archives over HTTP, into a real database, found as plugins.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { PluginState } from '../../../src/core/store.ts';
import { Catalogues } from '../../../src/engine/catalogue.ts';
import { Hub } from '../../../src/engine/hub/hub.ts';
import { Notary } from '../../../src/engine/hub/notary.ts';
import { Installed } from '../../../src/engine/installed.ts';
import { Installer } from '../../../src/engine/installer.ts';
import type { Tenancy } from '../../../src/engine/tenancy.ts';
import { GuardedFetcher } from '../../../src/gateway/egress/fetcher.ts';
import { dispatcharr } from '../../../src/manifests/dispatcharr.ts';
import { ManifestReader } from '../../../src/manifests/reader.ts';
import { PrivateCopies } from '../../../src/packages/private-copies.ts';
import { Remover } from '../../../src/packages/remover.ts';
import { UnpackCache } from '../../../src/packages/unpack-cache.ts';
import { Unpacker } from '../../../src/packages/unpacker.ts';
import { Store } from '../../../src/store/store.ts';
import { testDatabase } from '../../support/databases.ts';
import { RepoServer } from '../../support/repo-server.ts';
import { zipOf } from '../../support/zip.ts';

const never = new AbortController().signal;

test('a plugin of a repository is installed, replaced by its next version, and stays what it was set to', async () => {
  await using scope = new AsyncDisposableStack();
  const root = await mkdtemp(join(tmpdir(), 'isopod-hub-'));
  scope.defer(() => rm(root, { recursive: true, force: true }));
  const store = scope.use(await Store.open({ url: scope.use(await testDatabase()).url, dataDir: root }));
  await store.tenants.create('acme');
  const server = scope.use(await RepoServer.start());
  const unpacker = scope.use(new Unpacker());
  const remover = scope.use(new Remover());
  const reader = scope.use(new ManifestReader());
  const cache = new UnpackCache({ dir: join(root, 'cache'), unpacker, stranger: scope.use(new Unpacker()), bytes: 0 });
  const copies = new PrivateCopies(join(root, 'packages'), unpacker, remover);
  const installed = new Installed({ records: store.of('acme').packages, cache, copies });
  const dialects = [dispatcharr];
  const catalogues = scope.use(new Catalogues({ pluginsDir: join(root, 'plugins'), dialects, reader, installed }));
  const parts = { cache, reader, dialects, remover };
  const installer = new Installer({
    ...parts,
    store,
    tenantBytes: 10_000_000,
    catalogue: async () => catalogues.current,
    refresh: async () => void (await catalogues.reload()),
  });
  let states: ReadonlyMap<string, PluginState> = new Map();
  const tenancies = {
    async learn() {
      states = await store.of('acme').pluginStates.all();
    },
  };
  const fetcher = new GuardedFetcher({ hosts: [`127.0.0.1:${server.port}`], ranges: ['127.0.0.0/8'], ours: () => [] });
  const notary = scope.use(new Notary());
  const hub = new Hub({ store, tenancies, installer, fetcher, notary, version: '0.31.0', archiveBytes: 1_000_000 });
  const tenancy = {
    id: 'acme',
    get catalogue() {
      return catalogues.current;
    },
    get configured() {
      return states.keys();
    },
    state: (id: string) => states.get(id),
  } as unknown as Tenancy;

  const archive = (version: string, folder = '') =>
    zipOf({ [`${folder}plugin.py`]: 'class Plugin: pass', [`${folder}plugin.json`]: JSON.stringify({ version }) });
  const offer = (version: string, folder?: string) => {
    const latest = { latest_version: version, latest_url: server.at(`/${version}.zip`, archive(version, folder)) };
    const plugins = [{ slug: 'My-Plugin', ...latest }];
    server.at('/manifest.json', JSON.stringify({ registry_name: 'Things', plugins }));
  };
  const install = (version: string) => {
    const rest = { sha256: '', min: '', max: '', isPrerelease: false };
    return hub.install(
      tenancy,
      { repo: 1, slug: 'My-Plugin', version, url: server.at(`/${version}.zip`), ...rest },
      never,
    );
  };

  offer('1.0');
  await hub.repositories.add('acme', { url: server.at('/manifest.json'), publicKey: '' }, never);
  expect(await install('1.0')).toMatchObject({ isNew: true, plugin: { id: 'my_plugin', dialect: 'dispatcharr' } });
  await store.of('acme').pluginStates.replace('my_plugin', { a: 1 });
  await store.of('acme').pluginStates.enable('my_plugin', true);
  offer('2.0');
  await hub.repositories.refresh('acme', 1, never);
  expect(await install('2.0')).toMatchObject({ isNew: false });
  expect(catalogues.current.plugins.get('my_plugin')).toMatchObject({ portrait: { version: '2.0' } });
  expect(states.get('my_plugin')).toMatchObject({
    enabled: true,
    settings: { a: 1 },
    known: { source: { repo: 1, slug: 'My-Plugin', version: '2.0' } },
  });

  // One that turns out to be another plugin, which is there, is not put in its place.
  await installer.install('acme', archive('9', 'other/'), never, { dialect: 'dispatcharr' });
  offer('3.0', 'other/');
  await hub.repositories.refresh('acme', 1, never);
  await expect(install('3.0')).rejects.toMatchObject({ code: 'conflict', details: { where: [{ at: 'other' }] } });
  expect(catalogues.current.plugins.get('other')).toMatchObject({ portrait: { version: '9' } });
});
