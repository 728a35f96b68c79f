/**
 * Puts archives in, and takes plugins out. An archive is unpacked, its manifests are found and read, and only then
 * is anything kept: bytes, plugins and quota in one transaction, so that it is on all nodes or on none.
 */
import { Failure } from '../core/failure.ts';
import type { Plugin, Refusal, Verdict } from '../core/plugin.ts';
import type { InstalledPackage } from '../core/store.ts';
import { folded } from '../core/text.ts';
import type { ManifestDialect, ManifestSource } from '../manifests/dialect.ts';
import type { ManifestReader } from '../manifests/reader.ts';
import { discover } from '../packages/discovery.ts';
import { roomOf } from '../packages/tree.ts';
import type { Fresh, UnpackCache } from '../packages/unpack-cache.ts';
import type { PackagedPlugin } from '../store/packages.ts';
import type { Store } from '../store/store.ts';
import type { Catalogue } from './catalogue.ts';
import { Installations } from './installations.ts';
import { noTenant } from './invoker.ts';

/** What archives are opened and read with. */
export type PackageParts = { cache: UnpackCache; reader: ManifestReader; dialects: readonly ManifestDialect[] };

export type InstallerOptions = PackageParts & {
  store: Store;
  /** What all packages of a tenant may take of a disk, unpacked. */
  tenantBytes: number;
  /** The plugins that a tenant has now; undefined where there is no such tenant. */
  catalogue(tenant: string): Promise<Catalogue | undefined>;
  /** Resolves when what was installed or removed is known on this node. */
  refresh(tenant: string): Promise<void>;
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

type Packaged = PackagedPlugin & { described: Plugin };

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
  async install(tenant: string, archive: Buffer, signal: AbortSignal): Promise<Installed> {
    const installed = await this.#installations.inTurn(tenant, signal, () => this.#install(tenant, archive, signal));
    if (installed.changed) await this.#settle(tenant);
    return installed;
  }

  /** Removes a plugin that came in an archive. Throws `not_found`, and `conflict` for one that did not. */
  async remove(tenant: string, plugin: string, settings: 'keep' | 'forget'): Promise<void> {
    const { store } = this.#options;
    if (!(await store.of(tenant).packages.remove(plugin, settings))) {
      const { plugins } = await this.#catalogue(tenant);
      if (!plugins.has(plugin)) throw new Failure('not_found', `There is no plugin "${plugin}"`);
      throw new Failure('conflict', `The plugin "${plugin}" is a plain folder: remove that folder, then reload`);
    }
    await this.#settle(tenant);
  }

  async #install(tenant: string, archive: Buffer, signal: AbortSignal): Promise<Installed> {
    const { store, cache, tenantBytes } = this.#options;
    await using fresh = await cache.unpack(archive);
    const found = await this.#read(fresh);
    const { packages } = store.of(tenant);
    await this.#assertNoClash(tenant, found, await packages.list());
    signal.throwIfAborted();
    const { sha256, tree } = fresh;
    const kept = { bytes: fresh.archive, sha256, treeHash: tree.hash, unpackedBytes: roomOf(tree) };
    const { changed, replaced } = await packages.install(
      kept,
      found.map(({ plugin, dialect, manifest }) => ({ plugin, dialect, manifest })),
      tenantBytes,
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

  /** All plugins in the archive, or a refusal. */
  async #read({ dir }: Fresh): Promise<Packaged[]> {
    const { dialects, reader } = this.#options;
    const packaged: Packaged[] = [];
    const refused: Refusal[] = [];
    let manifests = 0;
    for (const dialect of dialects) {
      const found = await discover({ pluginsDir: dir, folder: '.', isManifest: dialect.isManifest });
      manifests += found.length;
      if (manifests > PLUGINS_MOST) throw tooManyPlugins(manifests);
      const sources = found.flatMap((one) => (one.ok ? [one] : []));
      const verdicts = await reader.read(dialect, sources);
      for (const one of found) if (!one.ok) refused.push(one.refusal);
      for (const [at, source] of sources.entries()) {
        const verdict = verdicts[at] as Verdict;
        if (verdict.ok) packaged.push(packagedOf(verdict.plugin, source));
        else refused.push(verdict.refusal);
      }
    }
    if (refused.length > 0) throw manifestsRejected(refused);
    if (packaged.length === 0) {
      const expected = dialects.map((one) => one.expected).join(', or ');
      throw new Failure('package_rejected', `There is no plugin in the archive. It must hold ${expected}`);
    }
    const ids = new Map<string, Packaged>();
    for (const one of packaged) {
      const other = ids.get(folded(one.plugin));
      const words = `the archive has a plugin of the id ${JSON.stringify(one.plugin)} twice (case does not matter)`;
      if (other !== undefined) {
        throw manifestsRejected([
          { file: one.manifest, line: null, column: null, reason: `${words}: ${other.manifest}` },
        ]);
      }
      ids.set(folded(one.plugin), one);
    }
    return packaged;
  }

  async #assertNoClash(tenant: string, found: readonly Packaged[], before: readonly InstalledPackage[]): Promise<void> {
    const catalogue = await this.#catalogue(tenant);
    const plain = [...catalogue.plugins.keys()].filter((id) => !catalogue.packages.has(id));
    for (const { plugin } of found) {
      const folder = plain.find((id) => folded(id) === folded(plugin));
      if (folder !== undefined) {
        throw new Failure('conflict', `There is a plain folder with a plugin "${folder}": remove it and reload first`);
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

function packagedOf(described: Plugin, { file }: ManifestSource): Packaged {
  return { plugin: described.id, dialect: described.dialect, manifest: file, described };
}

/** Of one archive. Each costs rows, a manifest that is read again and again, and a place in lists. */
const PLUGINS_MOST = 100;

function tooManyPlugins(observed: number): Failure {
  const limit = { name: 'plugins', allowed: PLUGINS_MOST, observed, unit: 'count' } as const;
  return new Failure('package_rejected', `The archive has ${observed} plugins, and may have ${PLUGINS_MOST}`, {
    limit,
  });
}

const REFUSALS_MOST = 20;

function manifestsRejected(refused: readonly Refusal[]): Failure {
  const where = refused.slice(0, REFUSALS_MOST).map(({ file, line, column, reason }) => ({
    at: [file, line, column].filter((part) => part !== null).join(':'),
    problem: reason,
  }));
  const [first] = where;
  const more = refused.length > 1 ? ` (and ${refused.length - 1} more)` : '';
  return new Failure('manifest_rejected', `${first?.at}: ${first?.problem}${more}`, { where });
}
