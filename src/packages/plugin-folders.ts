/**
 * Plugins that are folders: each folder directly below one that holds a file with its code. Of some formats a single file
 * beside them is one, too. What is said of strangers' files in discovery.ts holds here, too. What has a name that begins
 * with a dot is none, since what is being put in place or taken away is called so.
 */
import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, relative, resolve, sep } from 'node:path';
import { permissionsFileOf, type Refusal } from '../core/plugin.ts';
import { codeOf, DISCOVERY_LIMITS, type DiscoveryLimits, type Found, kindOf, PERMISSIONS_BYTES } from './discovery.ts';
import { readManifestFile, Unreadable } from './manifest-file.ts';

/** One of `code` must be there, or a `manifest` that names another one. */
export type FolderNames = {
  code: readonly string[];
  manifest: string;
  namesCode?(manifest: Uint8Array): boolean;
};

export type PluginFoldersOptions = FolderNames & {
  pluginsDir: string;
  /** The folder below `pluginsDir` whose folders are looked at. */
  folder: string;
  /** The endings of files that are plugins. */
  files?: readonly string[];
  /** The only one of them, whatever it is called and wherever it leads. */
  only?: string;
  limits?: Partial<DiscoveryLimits>;
};

/** All plugins in the order of their names, and what was refused on the way. A plugin without a manifest has an empty one. */
export async function discoverFolders(options: PluginFoldersOptions): Promise<Found[]> {
  const limits = { ...DISCOVERY_LIMITS, ...options.limits };
  const pluginsDir = resolve(options.pluginsDir);
  const root = join(pluginsDir, options.folder);
  const found: Found[] = [];
  const fileOf = (path: string) => relative(pluginsDir, path).split(sep).join('/');
  const refuse = (path: string, reason: string) => {
    found.push({ ok: false, refusal: { file: fileOf(path), line: null, column: null, reason } satisfies Refusal });
  };

  let realRoot: string;
  let names: string[];
  try {
    // The folder itself may be a link to anywhere: only the operator can have put it there.
    realRoot = await realpath(root);
    names = options.only === undefined ? await readdir(realRoot) : [options.only];
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') refuse(root, `cannot be opened (${codeOf(error)})`);
    return found;
  }
  if (names.length > limits.entriesPerFolder) {
    refuse(root, `a folder may hold ${limits.entriesPerFolder} files; nothing in this one is loaded`);
    return found;
  }

  let bytes = 0;
  for (const name of inByteOrder(names)) {
    if (name.startsWith('.') && name !== options.only) continue;
    const path = join(root, name);
    const place: Place =
      name === options.only
        ? { kind: 'folder', real: await realpath(path).catch(() => path) }
        : await placeAt(realRoot, name);
    if (place.kind === 'none') {
      if (place.reason !== null) refuse(path, place.reason);
      continue;
    }
    const isFile = place.kind === 'file';
    if (isFile && options.files?.includes(extname(name)) !== true) continue;
    const realDir = isFile ? realRoot : place.real;
    const read = isFile
      ? { bytes: NOTHING, ...(await permissionsBeside(realDir, name)) }
      : await readPluginFolder(realDir, options.manifest, limits.manifestBytes);
    if (!isFile && !(await holdsCode(realDir, options, read.bytes))) continue;
    bytes += read.bytes.length + (read.permissions?.length ?? 0);
    if (bytes > limits.totalBytes) {
      refuse(path, `all manifests together may have ${limits.totalBytes} bytes; nothing from here on is loaded`);
      break;
    }
    found.push({ ok: true, file: fileOf(path), path: isFile ? path : join(path, options.manifest), realDir, ...read });
  }
  return found;
}

/** Its manifest, or nothing where there is none that can be read, and the file of permissions beside that. */
export async function readPluginFolder(
  realDir: string,
  manifest: string,
  mostBytes = DISCOVERY_LIMITS.manifestBytes,
): Promise<{ bytes: Uint8Array; unread?: string; permissions?: Uint8Array | string }> {
  const file = await fileIn(realDir, manifest);
  const read = file === null ? { bytes: NOTHING } : await readOrNot(file, mostBytes);
  return { ...read, ...(await permissionsBeside(realDir, manifest)) };
}

async function readOrNot(file: string, mostBytes: number): Promise<{ bytes: Uint8Array; unread?: string }> {
  try {
    const bytes = await readManifestFile(file, mostBytes);
    return bytes.length === 0 ? { bytes, unread: 'it is empty' } : { bytes };
  } catch (error) {
    return { bytes: NOTHING, unread: whyUnread(error) };
  }
}

function whyUnread(error: unknown): string {
  return error instanceof Unreadable ? error.message : `cannot be read (${codeOf(error)})`;
}

async function permissionsBeside(realDir: string, name: string): Promise<{ permissions?: Uint8Array | string }> {
  const beside = join(realDir, permissionsFileOf(name));
  if ((await lstat(beside).catch(() => null)) === null) return {};
  try {
    return { permissions: await readManifestFile(beside, PERMISSIONS_BYTES) };
  } catch (error) {
    return { permissions: whyUnread(error) };
  }
}

const NOTHING = new Uint8Array(0);

/**
 * Which folder of an archive is its plugin, as its path in there; undefined where none is. What lies in `node_modules` is
 * what a plugin has brought along.
 */
export async function pluginFolderOf(
  files: readonly { path: string }[],
  { code, manifest, namesCode, inArchive }: FolderNames & { inArchive: 'best' | 'nearest' },
  read: (path: string) => Promise<Uint8Array> = async () => NOTHING,
): Promise<string | undefined> {
  const names = namesCode === undefined ? code : [...code, manifest];
  const candidates = files.flatMap(({ path }) => {
    const rank = names.indexOf(basename(path));
    return rank === -1 || path.split('/').includes(BROUGHT_ALONG) ? [] : [{ path, folder: dirname(path), rank }];
  });
  const isNearest = inArchive === 'nearest';
  candidates.sort(
    (one, other) =>
      (isNearest ? 0 : one.rank - other.rank) ||
      depthOf(one.folder) - depthOf(other.folder) ||
      Buffer.compare(Buffer.from(one.folder), Buffer.from(other.folder)) ||
      one.rank - other.rank,
  );
  let left = MANIFESTS_READ;
  for (const { path, folder, rank } of candidates) {
    if (rank < code.length) return folder;
    if (left-- > 0 && namesCode?.(await read(path)) === true) return folder;
  }
  return undefined;
}

const BROUGHT_ALONG = 'node_modules';
/** So many manifests of one archive are asked for their code. */
const MANIFESTS_READ = 20;

const LOGO = 'logo.png';

/** The picture of a folder; null where it has none. */
export async function logoIn(realDir: string): Promise<string | null> {
  const path = join(realDir, LOGO);
  return (await lstat(path).catch(() => null))?.isFile() === true ? path : null;
}

/** The same in an archive, as its path in there: in whatever case, and best of all from the plugin's own folder. */
export function logoOf(files: readonly { path: string }[], folder: string): string | null {
  const logos = files.map(({ path }) => path).filter((path) => basename(path).toLowerCase() === LOGO);
  return (
    logos.find((path) => dirname(path) === folder) ?? logos.find((path) => isBelow(path, folder)) ?? logos[0] ?? null
  );
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(`${folder}/`);
}

function depthOf(folder: string): number {
  return folder === '.' ? 0 : folder.split('/').length;
}

function inByteOrder(names: readonly string[]): string[] {
  return names
    .map((name) => ({ name, bytes: Buffer.from(name) }))
    .sort((one, other) => Buffer.compare(one.bytes, other.bytes))
    .map(({ name }) => name);
}

type Place = { kind: 'folder' | 'file'; real: string } | { kind: 'none'; reason: string | null };

/** What has that name, without links, or why there is nothing; that a socket or a device is none goes without saying. */
async function placeAt(realRoot: string, name: string): Promise<Place> {
  const path = join(realRoot, name);
  const none = (reason: string | null): Place => ({ kind: 'none', reason });
  try {
    const kind = kindOf(await lstat(path));
    if (kind === 'folder' || kind === 'file') return { kind, real: path };
    if (kind !== 'link') return none(null);
    const real = await realpath(path);
    if (!real.startsWith(realRoot + sep)) return none('the link leads out of the plugins folder and is not followed');
    const leadsTo = kindOf(await stat(real));
    return leadsTo === 'folder' || leadsTo === 'file' ? { kind: leadsTo, real } : none(null);
  } catch (error) {
    return none(`cannot be opened (${codeOf(error)})`);
  }
}

async function holdsCode(realDir: string, { code, namesCode }: FolderNames, manifest: Uint8Array): Promise<boolean> {
  for (const name of code) if ((await fileIn(realDir, name)) !== null) return true;
  return namesCode?.(manifest) === true;
}

/** A regular file in there, also through a link that stays in there; without links. */
async function fileIn(realDir: string, name: string): Promise<string | null> {
  try {
    const path = join(realDir, name);
    const kind = kindOf(await lstat(path));
    if (kind !== 'link') return kind === 'file' ? path : null;
    const real = await realpath(path);
    return real.startsWith(realDir + sep) && (await stat(real)).isFile() ? real : null;
  } catch {
    return null;
  }
}
