import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';
import { isResident, isWholeFolder, type Plugin, type Refusal } from '../core/plugin.ts';
import type { InstalledPackage } from '../core/store.ts';
import { folded } from '../core/text.ts';
import type { ManifestDialect, ManifestSource } from '../manifests/dialect.ts';
import { ManifestReader } from '../manifests/reader.ts';
import { type DiscoveryLimits, discover } from '../packages/discovery.ts';
import { stampOfFile, stampOf as stampOfFolder } from '../packages/folder-stamp.ts';
import { discoverFolders, logoIn } from '../packages/plugin-folders.ts';
import { Again } from './again.ts';
import type { Installed } from './installed.ts';

/** All plugins there are, in the order in which they were found, and the manifests that are none. */
export type Catalogue = {
  plugins: ReadonlyMap<string, Plugin>;
  /** By plugin, the packages of those that came in one. */
  packages: ReadonlyMap<string, InstalledPackage>;
  refused: readonly Refusal[];
  loadedAt: Date;
  loadMs: number;
};

export type CataloguesOptions = {
  pluginsDir: string;
  /** In order: where two have a plugin of the same id, the first dialect's counts. */
  dialects: readonly ManifestDialect[];
  discovery?: Partial<DiscoveryLimits>;
  /** Reads the manifests, for several catalogues; without it, this one has a reader of its own. */
  reader?: ManifestReader;
  /** Plugins that came in archives. Where there is a plain folder with a plugin of the same id, that one counts. */
  installed?: Installed;
};

/** What was loaded from one manifest, and from what state of its files. */
type Loaded = { plugin: Plugin; manifestHash: string; programStamp: string };

/**
 * The catalogue of now, and how it comes to be another one: a new one is built and put in its place, so that
 * whoever holds the old one is not disturbed. A plugin whose files have not changed stays the same object in the
 * new catalogue, which is how runtimes know that what they have compiled is still good.
 */
export class Catalogues implements AsyncDisposable {
  readonly #pluginsDir: string;
  readonly #options: CataloguesOptions;
  readonly #reader: ManifestReader;
  #current: Catalogue = { plugins: new Map(), packages: new Map(), refused: [], loadedAt: new Date(0), loadMs: 0 };
  /** By the path of the manifest. */
  #loaded = new Map<string, Loaded>();
  readonly #again = new Again(() => this.#load());

  constructor(options: CataloguesOptions) {
    this.#options = options;
    this.#pluginsDir = resolve(options.pluginsDir);
    this.#reader = options.reader ?? new ManifestReader();
  }

  get current(): Catalogue {
    return this.#current;
  }

  /**
   * A catalogue of what is on disk at the time of the call or later. A load that is under way may have passed a
   * file before it changed, so calls in the meantime share one more load after it.
   */
  reload(): Promise<Catalogue> {
    return this.#again.ask();
  }

  /** A load that is under way rejects, if the reader is its own. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#options.reader === undefined) await this.#reader[Symbol.asyncDispose]();
    await this.#again.idle();
    this.#options.installed?.[Symbol.dispose]();
  }

  async #load(): Promise<Catalogue> {
    const startedAt = performance.now();
    const plugins = new Map<string, Plugin>();
    const packages = new Map<string, InstalledPackage>();
    const refused: Refusal[] = [];
    const loaded = new Map<string, Loaded>();
    const owners = new Map<string, string>();
    /** Whether it is the first of its id. */
    const enter = (plugin: Plugin, file: string): boolean => {
      const owner = owners.get(folded(plugin.id));
      if (owner === undefined) {
        owners.set(folded(plugin.id), file);
        plugins.set(plugin.id, plugin);
      } else {
        const reason = `there is a plugin of the id ${JSON.stringify(plugin.id)} already (case does not matter): ${owner}`;
        refused.push({ file, line: null, column: null, reason });
      }
      return owner === undefined;
    };

    for (const dialect of this.#options.dialects) {
      for (const result of await this.#loadDialect(dialect)) {
        if (!result.ok) {
          refused.push(result.refusal);
          continue;
        }
        loaded.set(result.loaded.plugin.manifestFile, result.loaded);
        enter(result.loaded.plugin, result.file);
      }
    }
    for (const result of (await this.#options.installed?.load(this.#options.dialects, this.#reader)) ?? []) {
      if (!result.ok) refused.push(result.refusal);
      else if (enter(result.plugin, result.file)) packages.set(result.plugin.id, result.from);
    }

    this.#loaded = loaded;
    const loadMs = performance.now() - startedAt;
    this.#current = { plugins, packages, refused, loadedAt: new Date(), loadMs };
    return this.#current;
  }

  async #loadDialect(dialect: ManifestDialect): Promise<Result[]> {
    const { folder, folders, isManifest } = dialect;
    const where = { pluginsDir: this.#pluginsDir, folder, limits: this.#options.discovery ?? {} };
    const found = await (folders === undefined
      ? discover({ ...where, isManifest })
      : discoverFolders({ ...where, ...folders }));
    const results: Result[] = [];
    const changed: { at: number; source: ManifestSource; manifestHash: string }[] = [];
    for (const [at, each] of found.entries()) {
      if (!each.ok) {
        results[at] = each;
        continue;
      }
      const manifestHash = hashOf(each);
      const before = this.#loaded.get(each.path);
      if (before !== undefined && (await isUnchanged(before, dialect, { manifestHash, realDir: each.realDir }))) {
        results[at] = { ok: true, file: each.file, loaded: before };
      } else {
        const { ok: _, ...source } = each;
        changed.push({ at, source, manifestHash });
      }
    }

    const verdicts = await this.#reader.read(
      dialect,
      changed.map(({ source }) => source),
    );
    for (const [index, { at, source, manifestHash }] of changed.entries()) {
      const verdict = verdicts[index];
      if (verdict === undefined) throw new Error('The reader gave fewer verdicts than it got manifests');
      results[at] = verdict.ok
        ? { ok: true, file: source.file, loaded: await stamped(verdict.plugin, manifestHash) }
        : verdict;
    }
    return results;
  }
}

type Result = { ok: true; file: string; loaded: Loaded } | { ok: false; refusal: Refusal };

/** Of a manifest and what stands beside it. */
function hashOf({ bytes, permissions }: Pick<ManifestSource, 'bytes' | 'permissions'>): string {
  const hash = createHash('sha256').update(bytes);
  if (permissions !== undefined) hash.update(createHash('sha256').update(permissions).digest());
  return hash.digest('base64');
}

async function stamped(plugin: Plugin, manifestHash: string): Promise<Loaded> {
  const programStamp = await stampOf(plugin);
  if (!isResident(plugin)) return { plugin, manifestHash, programStamp };
  const logo = isWholeFolder(plugin) ? await logoIn(plugin.realDir) : null;
  return { plugin: { ...plugin, stamp: programStamp, logo }, manifestHash, programStamp };
}

async function isUnchanged(
  before: Loaded,
  dialect: ManifestDialect,
  now: { manifestHash: string; realDir: string },
): Promise<boolean> {
  return (
    before.plugin.dialect === dialect.name &&
    before.manifestHash === now.manifestHash &&
    before.plugin.realDir === now.realDir &&
    before.programStamp === (await stampOf(before.plugin))
  );
}

/** What a program is and in which state. Only of programs that a runtime keeps: one file compiled, or a folder copied. */
async function stampOf(plugin: Plugin): Promise<string> {
  const { program, dir, realDir } = plugin;
  if (isResident(plugin) && isWholeFolder(plugin)) return await stampOfFolder(realDir);
  const file = program.runtime === 'isolate' || program.runtime === 'node' ? program.file : null;
  return file === null ? '' : await stampOfFile(join(dir, file));
}
