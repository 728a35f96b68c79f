/**
 * The plugin hub of a tenant: what repositories it has, what they offer, and how that is installed. Who may be asked for
 * anything is the operator's to say; what is installed is what the repository says there is at that address, and is not
 * enabled by it.
 */
import { hash } from 'node:crypto';
import { setImmediate as others } from 'node:timers/promises';
import { Failure } from '../../core/failure.ts';
import type { Fetcher } from '../../core/fetching.ts';
import type { Dialect, Plugin } from '../../core/plugin.ts';
import type { PluginSource } from '../../core/store.ts';
import type { Store } from '../../store/store.ts';
import type { Installed } from '../installer.ts';
import type { Tenancies } from '../tenancies.ts';
import type { Tenancy } from '../tenancy.ts';
import type { Notary } from './notary.ts';
import { type Detail, Releases } from './releases.ts';
import { type JsonObject, readRepo } from './repo-manifest.ts';
import { Repositories } from './repositories.ts';
import { type Origin, offered, originOf, type Possession } from './shelf.ts';
import { unfit, type VersionLimits } from './versions.ts';
import { Visits } from './visits.ts';

export type HubOptions = {
  store: Pick<Store, 'of' | 'duePluginRepos'>;
  tenancies: Pick<Tenancies, 'learn'>;
  installer: {
    install(
      tenant: string,
      archive: Buffer,
      signal: AbortSignal,
      options: { dialect: Dialect; name: string; overwrite: boolean },
    ): Promise<Installed>;
  };
  fetcher: Fetcher;
  notary: Pick<Notary, 'verify'>;
  /** What we are to plugins. */
  version: string;
  /** An archive. */
  archiveBytes: number;
};

/** Something to be installed. Empty is what was not said. */
export type HubOrder = VersionLimits & {
  repo: number;
  slug: string;
  version: string;
  url: string;
  sha256: string;
  isPrerelease: boolean;
};

const DIALECT: Dialect = 'dispatcharr';
const ARCHIVE_MS = 60_000;
/** What is fetched into memory at once. */
const MANIFESTS = { each: 4, all: 32 };
const ARCHIVES = { each: 1, all: 4 };
const VERSION = /^[\u0020-\u007e]{1,64}$/;

export class Hub {
  readonly repositories: Repositories;
  readonly #options: HubOptions;
  readonly #releases: Releases;
  readonly #archives: Visits;

  constructor(options: HubOptions) {
    const { store, tenancies, notary, fetcher } = options;
    const visits = new Visits({ fetcher, ...MANIFESTS });
    this.#options = options;
    this.repositories = new Repositories({ store, tenancies, visits, notary });
    this.#releases = new Releases({ store, visits, notary });
    this.#archives = new Visits({ fetcher, ...ARCHIVES });
  }

  /** What repositories say by now of the tenant's plugins that came from them. */
  async origins({ id }: Pick<Tenancy, 'id'>): Promise<(source: PluginSource) => Origin | undefined> {
    const repos = await this.repositories.list(id);
    return (source) => originOf(repos, source);
  }

  /** All that repositories offer which are enabled, and what of it is there. */
  async *available(tenancy: Tenancy): AsyncGenerator<JsonObject> {
    const repos = await this.repositories.list(tenancy.id);
    const enabled = repos.filter((one) => one.enabled);
    const has = possessionsOf(tenancy);
    for (const repo of enabled) {
      const text = (await this.#repos(tenancy).manifests([repo.id])).get(repo.id);
      if (text !== undefined) yield* offered(repo, readRepo(text, repo.verified), { repos, has, keyOf });
      // A large one takes its time to read.
      await others();
    }
  }

  /** Throws `not_found`, `invalid_request`, `manifest_rejected` and `source_failed`. */
  async detail(tenancy: Tenancy, repo: number, url: string, signal: AbortSignal): Promise<Detail> {
    const { id } = tenancy;
    return await this.#releases.detail(id, await this.repositories.get(id, repo), url, signal);
  }

  /**
   * Whether it is enabled, and what is set for it, stays. Throws what `detail` and the installer do, and
   * `invalid_request` for what is not what it should be.
   */
  async install(tenancy: Tenancy, order: HubOrder, signal: AbortSignal): Promise<{ plugin: Plugin; isNew: boolean }> {
    const { id } = tenancy;
    const { store, tenancies, version, archiveBytes } = this.#options;
    const repo = await this.repositories.get(id, order.repo);
    if (!VERSION.test(order.version)) throw new Failure('invalid_request', 'This is no version');
    assertFit(version, order);
    const release = await this.#releases.find(id, repo, order, signal);
    assertFit(version, release);
    const wish = { url: order.url, bytes: archiveBytes, ms: ARCHIVE_MS };
    const archive = await this.#archives.fetch(id, wish, signal);
    assertIs(archive, [order.sha256, release.sha256]);
    const before = new Set([...tenancy.catalogue.plugins.keys(), ...tenancy.configured]);
    const [plugin] = (await this.#put(tenancy, order, archive, signal)).plugins;
    if (plugin === undefined) throw new Failure('package_rejected', 'There is no plugin in the archive');
    const { slug, isPrerelease } = order;
    const isDeprecated = repo.offers.some((one) => one.slug === slug && one.deprecated);
    const source: PluginSource = { repo: repo.id, slug, version: order.version, isPrerelease, isDeprecated };
    await store.of(id).pluginStates.knowSource(plugin.id, plugin.dialect, source);
    await tenancies.learn(id, 'plugin_states');
    return { plugin, isNew: !before.has(plugin.id) };
  }

  /** An archive may hold whatever it likes: it takes the place of what it is meant for, and of no other plugin. */
  async #put(tenancy: Tenancy, order: HubOrder, archive: Buffer, signal: AbortSignal): Promise<Installed> {
    const { installer } = this.#options;
    const replaced = replaceable(tenancy, order);
    const put = (bytes: Buffer, overwrite: boolean) =>
      installer.install(tenancy.id, bytes, signal, { dialect: DIALECT, name: `${order.slug}.zip`, overwrite });
    if (replaced.size === 0) return await put(archive, false);
    try {
      return await put(copyOf(archive), false);
    } catch (error) {
      // Which plugin is in it is known to whoever has opened it.
      const there = error instanceof Failure && error.code === 'conflict' ? error.details.where?.[0]?.at : undefined;
      if (there === undefined || !replaced.has(there)) throw error;
      return await put(archive, true);
    }
  }

  #repos({ id }: Tenancy) {
    return this.#options.store.of(id).pluginRepos;
  }
}

/** The plugin that is called like what is offered, and those that were installed as that before. */
function replaceable(tenancy: Tenancy, { repo, slug }: HubOrder): Set<string> {
  const ids = [...tenancy.catalogue.plugins.keys()];
  const isOfIt = (id: string) => {
    const source = tenancy.state(id)?.known?.source;
    return id === keyOf(slug) || (source?.repo === repo && source.slug === slug);
  };
  return new Set(ids.filter(isOfIt));
}

/** In memory of its own: whoever takes an archive takes its memory. */
function copyOf(archive: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(archive.length);
  archive.copy(copy);
  return copy;
}

function possessionsOf(tenancy: Tenancy): Possession[] {
  const plugins = [...tenancy.catalogue.plugins.values()].filter(({ dialect }) => dialect === DIALECT);
  return plugins.map((plugin) => ({
    key: plugin.id,
    version: tenancy.portrait(plugin).version,
    source: tenancy.state(plugin.id)?.known?.source ?? null,
  }));
}

/** What a plugin of that slug is called here. Contract: Dispatcharr `_sanitize_plugin_key`. */
export function keyOf(slug: string): string {
  const plain = slug.toLowerCase().replace(/[^a-z0-9_]/g, '_');
  return plain.replace(/^_+|_+$/g, '').slice(0, 128) || 'plugin';
}

function assertFit(version: string, limits: VersionLimits): void {
  const why = unfit(version, limits);
  if (why !== null) throw new Failure('invalid_request', why);
}

function assertIs(archive: Buffer, hashes: readonly string[]): void {
  const wanted = hashes.map((one) => one.trim().toLowerCase()).filter((one) => one !== '');
  if (wanted.length === 0) return;
  const sha256 = hash('sha256', archive);
  if (wanted.some((one) => one !== sha256)) {
    throw new Failure('invalid_request', 'The archive is not what it should be: it has another SHA-256');
  }
}
