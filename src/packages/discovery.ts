/**
 * Finds the manifests below a folder, in Stash's order: depth first, names sorted by their bytes, and whatever
 * the folders are called (hidden ones, node_modules and all).
 *
 * The files belong to strangers. Nothing but regular files is opened. A link is followed only to what lies inside
 * the folder. Each real folder is walked once, under the first name that leads there: so a circle ends, and links
 * to links cannot multiply; what a second name would show are the same ids again. Everything has a limit, and
 * what is over it is refused by name, never silently.
 */
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import { permissionsFileOf, type Refusal } from '../core/plugin.ts';
import { readManifestFile, Unreadable } from './manifest-file.ts';

export type DiscoveryLimits = {
  /** Folders inside of folders. */
  depth: number;
  /** Files and folders, in all. */
  entries: number;
  /** Files and folders in one folder. */
  entriesPerFolder: number;
  /** One manifest. */
  manifestBytes: number;
  /** All manifests together, since all are held at once. */
  totalBytes: number;
};

export const DISCOVERY_LIMITS: DiscoveryLimits = {
  depth: 64,
  entries: 200_000,
  entriesPerFolder: 20_000,
  manifestBytes: 256 * 1024,
  totalBytes: 64 * 1024 * 1024,
};

/** A file of permissions. */
export const PERMISSIONS_BYTES = 64 * 1024;

/**
 * `file` is relative to the plugins folder, `path` absolute, under the names by which it was found. `realDir` is
 * the folder that the manifest is in, without links.
 */
export type Found =
  | {
      ok: true;
      file: string;
      path: string;
      realDir: string;
      bytes: Uint8Array;
      /** Why its bytes are nothing although there is a file, of a format that can do without. */
      unread?: string;
      /** What is in the file of permissions beside it, or why that cannot be read. */
      permissions?: Uint8Array | string;
    }
  | { ok: false; refusal: Refusal };

export type DiscoveryOptions = {
  pluginsDir: string;
  /** The folder below `pluginsDir` to walk. */
  folder: string;
  isManifest: (fileName: string) => boolean;
  limits?: Partial<DiscoveryLimits>;
};

/** All manifests in order, and what was refused on the way. No such folder: no manifests. */
export async function discover(options: DiscoveryOptions): Promise<Found[]> {
  const walk = new Walk(options);
  await walk.start(options.folder);
  return walk.found;
}

class Walk {
  readonly found: Found[] = [];
  readonly #pluginsDir: string;
  readonly #isManifest: (fileName: string) => boolean;
  readonly #limits: DiscoveryLimits;
  readonly #walked = new Set<string>();
  #realRoot = '';
  #entries = 0;
  #bytes = 0;

  constructor({ pluginsDir, isManifest, limits }: DiscoveryOptions) {
    this.#pluginsDir = resolve(pluginsDir);
    this.#isManifest = isManifest;
    this.#limits = { ...DISCOVERY_LIMITS, ...limits };
  }

  async start(folder: string): Promise<void> {
    const root = join(this.#pluginsDir, folder);
    try {
      // The folder itself may be a link to anywhere: only the operator can have put it there.
      this.#realRoot = await realpath(root);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') this.#refuse(root, `cannot be opened (${codeOf(error)})`);
      return;
    }
    await this.#folder(root, this.#realRoot, 0);
  }

  async #folder(path: string, real: string, depth: number): Promise<void> {
    if (this.#walked.has(real) || this.#full()) return;
    if (depth > this.#limits.depth) {
      this.#refuse(path, `folders may be ${this.#limits.depth} deep at most; nothing below is loaded`);
      return;
    }
    this.#walked.add(real);
    const entries = await this.#entriesOf(path, real);
    this.#entries += entries.length;
    if (this.#full()) {
      this.#refuse(path, `there are more than ${this.#limits.entries} files; nothing from here on is loaded`);
      return;
    }
    const names = new Set(entries.map(({ name }) => name));
    for (const { name, kind } of entries) {
      const entryPath = join(path, name);
      const entryReal = join(real, name);
      const asks = names.has(permissionsFileOf(name));
      const entry = { path: entryPath, real: entryReal, realDir: real, name, asks };
      if (kind === 'link') await this.#link(entry, depth);
      else await this.#entry(entry, kind, depth);
    }
  }

  async #link(link: Entry, depth: number): Promise<void> {
    const { path } = link;
    let real: string;
    let kind: Kind;
    try {
      real = await realpath(link.real);
      if (!this.#inside(real)) {
        this.#refuse(path, 'the link leads out of the plugins folder and is not followed');
        return;
      }
      kind = kindOf(await stat(real));
    } catch (error) {
      this.#refuse(path, `the link leads nowhere (${codeOf(error)})`);
      return;
    }
    await this.#entry({ ...link, real }, kind, depth);
  }

  async #entry(entry: Entry, kind: Kind, depth: number): Promise<void> {
    const { path, real, name } = entry;
    if (this.#isManifest(name)) {
      if (kind === 'folder') this.#refuse(path, 'a folder has the name of a manifest; rename it');
      else if (kind === 'file') await this.#manifest(entry);
      else this.#refuse(path, 'not a regular file; it is not opened');
    }
    if (kind === 'folder') await this.#folder(path, real, depth + 1);
  }

  async #manifest({ path, real, realDir, name, asks }: Entry): Promise<void> {
    try {
      const bytes = await readManifestFile(real, this.#limits.manifestBytes);
      if (this.#bytes + bytes.length > this.#limits.totalBytes) {
        throw new Unreadable(`all manifests together may have ${this.#limits.totalBytes} bytes, and this one is over`);
      }
      this.#bytes += bytes.length;
      const permissions = asks ? await this.#permissions(join(realDir, permissionsFileOf(name))) : undefined;
      const found = { ok: true, file: this.#file(path), path, realDir, bytes } as const;
      this.found.push(permissions === undefined ? found : { ...found, permissions });
    } catch (error) {
      this.#refuse(path, error instanceof Unreadable ? error.message : `cannot be read (${codeOf(error)})`);
    }
  }

  /** Its bytes, or why there are none. It is looked for where the manifest is, and no link is followed. */
  async #permissions(real: string): Promise<Uint8Array | string> {
    try {
      const bytes = await readManifestFile(real, PERMISSIONS_BYTES);
      if (this.#bytes + bytes.length > this.#limits.totalBytes) return 'there are more manifests than may be read';
      this.#bytes += bytes.length;
      return bytes;
    } catch (error) {
      return error instanceof Unreadable ? error.message : `cannot be read (${codeOf(error)})`;
    }
  }

  async #entriesOf(path: string, real: string): Promise<{ name: string; kind: Kind }[]> {
    try {
      const entries = await readdir(real, { withFileTypes: true });
      if (entries.length > this.#limits.entriesPerFolder) {
        this.#refuse(path, `a folder may hold ${this.#limits.entriesPerFolder} files; nothing in this one is loaded`);
        return [];
      }
      return entries
        .map((entry) => ({ name: entry.name, kind: kindOf(entry), bytes: Buffer.from(entry.name) }))
        .sort((a, b) => Buffer.compare(a.bytes, b.bytes));
    } catch (error) {
      this.#refuse(path, codeOf(error) === 'ENOTDIR' ? 'not a folder' : `cannot be opened (${codeOf(error)})`);
      return [];
    }
  }

  #full(): boolean {
    return this.#entries > this.#limits.entries;
  }

  #inside(real: string): boolean {
    return real === this.#realRoot || real.startsWith(this.#realRoot + sep);
  }

  #refuse(path: string, reason: string): void {
    this.found.push({ ok: false, refusal: { file: this.#file(path), line: null, column: null, reason } });
  }

  #file(path: string): string {
    return relative(this.#pluginsDir, path).split(sep).join('/');
  }
}

/**
 * What a folder holds: under the name by which it is found, what that leads to, and the folder itself without links.
 * `asks`: there is a file of permissions beside it.
 */
type Entry = { path: string; real: string; realDir: string; name: string; asks: boolean };

export type Kind = 'file' | 'folder' | 'link' | 'other';

/** Of a directory entry or of stats. */
export function kindOf(entry: { isFile(): boolean; isDirectory(): boolean; isSymbolicLink(): boolean }): Kind {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  return entry.isSymbolicLink() ? 'link' : 'other';
}

// Only the code: the message of a system error has the whole path in it.
export function codeOf(error: unknown): string {
  return String((error as { code?: unknown }).code ?? 'unknown error');
}
