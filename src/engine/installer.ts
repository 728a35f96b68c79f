/**
 * Puts archives in, and takes plugins out. An archive is unpacked, its manifests are found and read, and only then
 * is anything kept: bytes, plugins and quota in one transaction, so that it is on all nodes or on none.
 */
import { Failure } from '../core/failure.ts';
import { type Dialect, isWholeFolder, type Plugin } from '../core/plugin.ts';
import type { InstalledPackage } from '../core/store.ts';
import { folded } from '../core/text.ts';
import type { ManifestDialect } from '../manifests/dialect.ts';
import type { ManifestReader } from '../manifests/reader.ts';
import type { Remover } from '../packages/remover.ts';
import { roomOf } from '../packages/tree.ts';
import type { UnpackCache } from '../packages/unpack-cache.ts';
import { thereAlready } from '../store/packages.ts';
import type { Store } from '../store/store.ts';
import { type Packaged, pluginsIn } from './archive-plugins.ts';
import type { Catalogue } from './catalogue.ts';
import { Installations } from './installations.ts';
import { noTenant } from './invoker.ts';
import type { Residencies } from './residencies.ts';
import type { Tenancy } from './tenancy.ts';

/** What archives are opened and read with, and plugins taken away. */
export type PackageParts = {
  cache: UnpackCache;
  reader: ManifestReader;
  dialects: readonly ManifestDialect[];
  remover: Remover;
};

export type InstallerOptions = PackageParts & {
  store: Store;
  /** What all packages of a tenant may take of a disk, unpacked. */
  tenantBytes: number;
  /** The plugins that a tenant has now; undefined where there is no such tenant. */
  catalogue(tenant: string): Promise<Catalogue | undefined>;
  /** Resolves when what was installed or removed is known on this node. */
  refresh(tenant: string): Promise<void>;
  /** Who of the plugins lives here. */
  residencies?: Pick<Residencies, 'stop'>;
  /** Removes what a plugin that is gone has kept on this node. */
  clear?(tenant: string, plugin: string): Promise<void>;
};

/** An archive that is installed. */
export type Installed = {
  /** As their manifests describe them. */
  plugins: Plugin[];
  sha256: string;
  bytes: number;
  /** Those of them that came in another archive before. */
  replaced: string[];
  /** False where all of it was there already. */
  changed: boolean;
};

export type InstallOptions = {
  /** Of this format only; else of whichever the archive is. */
  dialect?: Dialect | undefined;
  /** What the archive is called, without its folder: it names a plugin that lies at its top. */
  name?: string | undefined;
  /** False where a plugin that is there already is to stay as it is. */
  overwrite?: boolean | undefined;
};

export class Installer {
  readonly #options: InstallerOptions;
  readonly #installations = new Installations();

  constructor(options: InstallerOptions) {
    this.#options = options;
  }

  /**
   * Installs all plugins of an archive, which is taken away. They replace those of the same ids that came in archives;
   * what else those archives had stays. Throws `package_rejected`, `manifest_rejected`, `conflict`, `quota_exceeded`,
   * `concurrency_limited`, and the reason of the signal as long as nothing has happened.
   */
  async install(
    tenant: string,
    archive: Buffer,
    signal: AbortSignal,
    options: InstallOptions = {},
  ): Promise<Installed> {
    const install = () => this.#install(tenant, archive, signal, options);
    const installed = await this.#installations.inTurn(tenant, signal, install);
    if (installed.changed) await this.#settle(tenant);
    return installed;
  }

  /** Removes a plugin that came in an archive. Throws `not_found`, and `conflict` for one that did not. */
  async remove(tenant: string, plugin: string, settings: 'keep' | 'forget'): Promise<void> {
    const { store } = this.#options;
    if (!(await store.of(tenant).packages.remove(plugin, settings))) {
      const { plugins } = await this.#catalogue(tenant);
      if (!plugins.has(plugin)) throw new Failure('not_found', `There is no plugin "${plugin}"`);
      throw isPlainFolder(plugin);
    }
    await this.#settle(tenant);
    await this.#options.clear?.(tenant, plugin);
  }

  /**
   * Removes a plugin whichever way it came, with all that was set for it and all that it has kept. Whether there was one;
   * what is remembered of it goes in any case. Throws `conflict` for a plain folder that is more than this plugin.
   * One that came in an archive and is of another format than `dialect` stays, also while it cannot be loaded.
   */
  async discard(tenancy: Tenancy, plugin: string, dialect?: Dialect): Promise<boolean> {
    const { store, remover, residencies, dialects, clear } = this.#options;
    const { plugins, packages } = tenancy.catalogue;
    const others = (await store.of(tenancy.id).packages.list()).filter(
      (one) => one.dialect !== (dialect ?? one.dialect),
    );
    if (others.some((one) => one.plugin === plugin)) return false;
    const there = plugins.get(plugin);
    const isPlain = there !== undefined && !packages.has(plugin);
    const isFolder = dialects.some(({ name, folders }) => name === there?.dialect && folders !== undefined);
    if (isPlain && !isFolder) throw isPlainFolder(plugin);
    // While all of it is there: it may have something to put away.
    if (there !== undefined) await residencies?.stop(tenancy, there, 'delete');
    if (isPlain) await takenAway(remover, there);
    const came = await store.of(tenancy.id).packages.discard(plugin);
    await this.#settle(tenancy.id);
    await clear?.(tenancy.id, plugin);
    return there !== undefined || came;
  }

  async #install(
    tenant: string,
    archive: Buffer,
    signal: AbortSignal,
    { dialect, name, overwrite = true }: InstallOptions,
  ): Promise<Installed> {
    const { store, cache, tenantBytes, dialects, reader } = this.#options;
    await using fresh = await cache.unpack(archive);
    const found = await pluginsIn(fresh, { dialects, reader, dialect, name });
    const { packages } = store.of(tenant);
    await this.#assertNoClash(tenant, found, await packages.list(), overwrite);
    signal.throwIfAborted();
    const { sha256, tree } = fresh;
    const kept = { bytes: fresh.archive, sha256, treeHash: tree.hash, unpackedBytes: roomOf(tree) };
    const { changed, replaced } = await packages.install(
      kept,
      found.map(({ plugin, dialect, manifest }) => ({ plugin, dialect, manifest })),
      { unpackedMost: tenantBytes, overwrite },
    );
    // It is installed already: whoever needs the folder and does not find it unpacks it again.
    await fresh.keep().catch(() => {});
    const plugins = found.map(({ described }) => described);
    return { plugins, sha256, bytes: fresh.archive.length, replaced, changed };
  }

  /** What others must know of it, and what nobody needs any more. */
  async #settle(tenant: string): Promise<void> {
    await this.#options.refresh(tenant);
    await this.#options.store.bundles.removeUnused();
  }

  async #assertNoClash(
    tenant: string,
    found: readonly Packaged[],
    before: readonly InstalledPackage[],
    overwrite: boolean,
  ): Promise<void> {
    const catalogue = await this.#catalogue(tenant);
    const plain = [...catalogue.plugins.keys()].filter((id) => !catalogue.packages.has(id));
    for (const { plugin, dialect } of found) {
      const folder = plain.find((id) => folded(id) === folded(plugin));
      if (folder !== undefined && !overwrite) throw thereAlready(folder);
      if (folder !== undefined) {
        throw new Failure('conflict', `There is a plain folder with a plugin "${folder}": remove it and reload first`);
      }
      // What was allowed to the one, and that it is enabled, is not for another program that is called so.
      const stranger = before.find((one) => one.plugin === plugin && one.dialect !== dialect);
      if (stranger !== undefined) {
        const words = `There is a plugin "${plugin}" of another format, ${stranger.dialect}: remove it first`;
        throw new Failure('conflict', words);
      }
      const other = before.find((one) => one.plugin !== plugin && folded(one.plugin) === folded(plugin));
      if (other !== undefined) {
        const words = `There is a plugin "${other.plugin}", which differs from "${plugin}" in case only: remove it first`;
        throw new Failure('conflict', words);
      }
    }
  }

  async #catalogue(tenant: string): Promise<Catalogue> {
    const catalogue = await this.#options.catalogue(tenant);
    if (catalogue === undefined) throw noTenant(tenant);
    return catalogue;
  }
}

/**
 * That folder and no other, or the one file: of what is only a link, the link. It is in nobody's way at once, and goes in
 * its own time.
 */
async function takenAway(remover: Remover, plugin: Plugin): Promise<void> {
  const { id, dir, manifestFile } = plugin;
  try {
    await remover.remove(isWholeFolder(plugin) ? dir : manifestFile);
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === undefined) throw error;
    throw new Failure('conflict', `The folder of the plugin "${id}" cannot be removed (${code})`, { cause: error });
  }
}

function isPlainFolder(id: string): Failure {
  return new Failure('conflict', `The plugin "${id}" is a plain folder: remove that folder, then reload`);
}
