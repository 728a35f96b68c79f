import { hash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Failure } from '../core/failure.ts';
import { isResident, type Plugin, permissionsFileOf, type Refusal, type Verdict } from '../core/plugin.ts';
import type { InstalledPackage } from '../core/store.ts';
import type { FolderForm, ManifestDialect, ManifestSource } from '../manifests/dialect.ts';
import type { ManifestReader } from '../manifests/reader.ts';
import { DISCOVERY_LIMITS, PERMISSIONS_BYTES } from '../packages/discovery.ts';
import { readManifestFile, Unreadable } from '../packages/manifest-file.ts';
import { logoOf } from '../packages/plugin-folders.ts';
import type { PrivateCopies } from '../packages/private-copies.ts';
import type { Held, UnpackCache } from '../packages/unpack-cache.ts';

/** What is kept of the packages of one tenant. */
export type PackageRecords = {
  list(): Promise<InstalledPackage[]>;
  archive(one: InstalledPackage): Promise<Buffer>;
};

export type InstalledOptions = {
  records: PackageRecords;
  cache: UnpackCache;
  /** Of the same tenant. */
  copies: PrivateCopies;
};

/** Where a plugin comes from, and what was made of it; `file` is for people. */
export type InstalledPlugin = { file: string; from: InstalledPackage } & (
  | { ok: true; plugin: Plugin }
  | { ok: false; refusal: Refusal }
);

type Loaded = { from: InstalledPackage; plugin: Plugin };

/**
 * The plugins of one tenant that came in archives. Each is what its archive made it when it was installed: its manifest
 * is the one that was recorded, in a folder that is verified each time it is looked at. One whose archive is the same
 * as before stays the same object.
 */
export class Installed implements Disposable {
  readonly #options: InstalledOptions;
  #loaded = new Map<string, Loaded>();
  /** By archive. */
  #held = new Map<string, Held>();

  constructor(options: InstalledOptions) {
    this.#options = options;
  }

  async load(dialects: readonly ManifestDialect[], reader: ManifestReader): Promise<InstalledPlugin[]> {
    const { records, copies } = this.#options;
    const packages = await records.list();
    const folders = await this.#hold(packages);
    const found: InstalledPlugin[] = [];
    const sources = new Map<string, Source[]>();
    for (const from of packages) {
      const folder = folders.get(from.sha256);
      const before = this.#loaded.get(from.plugin);
      if (typeof folder === 'string') found.push(refused(from, folder));
      else if (folder !== undefined && before !== undefined && isSame(before.from, from)) {
        found.push(await this.#placed(from, folder, before.plugin));
      } else if (folder !== undefined) {
        const source = await sourceOf(from, folder, dialects.find(({ name }) => name === from.dialect)?.folders);
        if ('ok' in source) found.push(source);
        else sources.set(from.dialect, [...(sources.get(from.dialect) ?? []), source]);
      }
    }
    for (const [name, all] of sources) {
      const dialect = dialects.find((one) => one.name === name);
      const verdicts = dialect === undefined ? [] : await reader.read(dialect, all);
      for (const [at, source] of all.entries()) found.push(await this.#judged(source, verdicts[at]));
    }
    this.#loaded = new Map(found.flatMap((one) => (one.ok ? [[one.from.plugin, one]] : [])));
    // Also those that cannot be loaded now: what they have written is still theirs.
    await copies.retain(new Set(packages.map(({ sha256 }) => sha256)));
    return found.sort((one, other) => (one.from.plugin < other.from.plugin ? -1 : 1));
  }

  [Symbol.dispose](): void {
    for (const held of this.#held.values()) held[Symbol.dispose]();
    this.#held.clear();
  }

  /** The folder of each archive, or why there is none. Those of before are let go of when the new ones are held. */
  async #hold(packages: readonly InstalledPackage[]): Promise<Map<string, Held | string>> {
    const folders = new Map<string, Held | string>();
    const { cache, records } = this.#options;
    for (const one of packages) {
      const { sha256, treeHash } = one;
      if (folders.has(sha256)) continue;
      try {
        folders.set(sha256, await cache.open({ sha256, treeHash, archive: () => records.archive(one) }));
      } catch (error) {
        const { message, code } = Failure.from(error);
        folders.set(sha256, code === 'internal' ? 'its archive cannot be unpacked on this node' : message);
      }
    }
    this[Symbol.dispose]();
    for (const [sha256, folder] of folders) if (typeof folder !== 'string') this.#held.set(sha256, folder);
    return folders;
  }

  async #judged({ from, folder, file }: Source, verdict: Verdict | undefined): Promise<InstalledPlugin> {
    if (verdict === undefined) return refused(from, `there are no plugins of the format "${from.dialect}" here`);
    if (!verdict.ok) return { ok: false, file, from, refusal: verdict.refusal };
    const { plugin } = verdict;
    if (plugin.id !== from.plugin) return refused(from, `it was installed as ${JSON.stringify(from.plugin)}`);
    return await this.#placed(from, folder, isResident(plugin) ? await asFolder(from, folder, plugin) : plugin);
  }

  /** The plugin in the folder that it runs in. */
  async #placed(from: InstalledPackage, folder: Held, plugin: Plugin): Promise<InstalledPlugin> {
    const file = fileOf(from);
    let root = folder.dir;
    if (plugin.program.runtime === 'process') {
      try {
        root = await this.#options.copies.open(from.sha256, folder);
      } catch {
        return refused(from, 'there is no room for a copy that it may write to');
      }
    }
    const manifestFile = join(root, from.manifest);
    // There were no links below it: those that are there now, its programs have made.
    const realRoot = await realpath(root).catch(() => root);
    const realDir = join(realRoot, dirname(from.manifest));
    if (plugin.manifestFile === manifestFile && plugin.realDir === realDir) return { ok: true, file, from, plugin };
    const own = plugin.program.runtime === 'process' ? { ownDir: realRoot } : {};
    return { ok: true, file, from, plugin: { ...plugin, ...own, dir: dirname(manifestFile), realDir, manifestFile } };
  }
}

/** What is known of a plugin that is a whole folder. */
async function asFolder({ sha256, manifest }: InstalledPackage, { dir, tree }: Held, plugin: Plugin): Promise<Plugin> {
  const logo = logoOf(tree.files, dirname(manifest));
  const root = await realpath(dir).catch(() => dir);
  return { ...plugin, stamp: `${sha256}/${manifest}`, logo: logo === null ? null : join(root, logo) };
}

type Source = ManifestSource & { from: InstalledPackage; folder: Held };

/** The manifest as it was recorded: what is read is what was verified. Where plugins are `folders`, there may be none. */
async function sourceOf(
  from: InstalledPackage,
  folder: Held,
  folders: FolderForm | undefined,
): Promise<Source | InstalledPlugin> {
  const known = folder.tree.files.find(({ path }) => path === from.manifest);
  const isReadable = known !== undefined && known.bytes <= DISCOVERY_LIMITS.manifestBytes;
  if (known === undefined && folders === undefined) return refused(from, 'there is no such file in the archive');
  const path = join(folder.dir, from.manifest);
  try {
    const isLeftOut = folders !== undefined && !isReadable;
    const bytes = isLeftOut ? NOTHING : await readManifestFile(path, DISCOVERY_LIMITS.manifestBytes);
    const permissions = await permissionsOf(from, folder);
    if ((isLeftOut || hash('sha256', bytes) === known?.sha256) && permissions !== CHANGED) {
      const unread = known !== undefined && bytes.length === 0 ? { unread: whyUnread(known) } : {};
      const more = { ...unread, ...(permissions && { permissions }) };
      return { file: fileOf(from), path, bytes, id: from.plugin, from, folder, ...more };
    }
  } catch {
    // Somebody takes it away from under us, which is as bad as changing it.
  }
  return refused(from, 'the file was changed while it was read: reload');
}

const NOTHING = new Uint8Array(0);

function whyUnread({ bytes }: { bytes: number }): string {
  return bytes === 0 ? 'it is empty' : `it is longer than ${DISCOVERY_LIMITS.manifestBytes} bytes`;
}

const CHANGED = Symbol('changed');

/** The file of permissions beside the manifest, where there is one: as it was recorded, too. */
async function permissionsOf(
  { manifest }: InstalledPackage,
  { dir, tree }: Held,
): Promise<Uint8Array | string | undefined | typeof CHANGED> {
  const file = permissionsFileOf(manifest);
  const known = tree.files.find(({ path }) => path === file);
  if (known === undefined) return undefined;
  try {
    const bytes = await readManifestFile(join(dir, file), PERMISSIONS_BYTES);
    return hash('sha256', bytes) === known.sha256 ? bytes : CHANGED;
  } catch (error) {
    return error instanceof Unreadable ? error.message : CHANGED;
  }
}

function refused(from: InstalledPackage, reason: string): InstalledPlugin {
  const file = fileOf(from);
  return { ok: false, file, from, refusal: { file, line: null, column: null, reason } };
}

function fileOf({ sha256, manifest }: InstalledPackage): string {
  return `${sha256.slice(0, 12)}.zip/${manifest}`;
}

function isSame(before: InstalledPackage, now: InstalledPackage): boolean {
  return before.sha256 === now.sha256 && before.manifest === now.manifest && before.dialect === now.dialect;
}
