/**
 * The names of entries. One that means the same everywhere is taken; one that leads elsewhere on any system, that a
 * system would change in silence, or that cannot be told from another one, is not.
 */
import { isUtf8 } from 'node:buffer';
import { folded } from '../core/text.ts';
import type { ArchiveLimits } from './archive-limits.ts';
import { Rejected, shown } from './rejected.ts';

/** `parts` of a path below the folder to unpack into. */
export type EntryPath = { path: string; parts: readonly string[]; isFolder: boolean };

// Names are shown, logged and compared: they must look like what they are.
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
/** https://learn.microsoft.com/windows/win32/fileio/naming-a-file: with any ending, and spaces before it. */
const DEVICE = /^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)/i;

export function entryPath(name: Buffer, { depth, nameBytes, pathBytes }: ArchiveLimits): EntryPath {
  const refuse = (problem: string): never => {
    throw new Rejected(shown(name), problem, 'path');
  };
  if (name.length === 0) throw new Rejected('(an entry)', 'has no name', 'path');
  if (!isUtf8(name)) return refuse('has a name that is not UTF-8');
  const whole = name.toString();
  if (whole.includes('\0')) refuse('has a NUL in its name');
  if (UNPRINTABLE.test(whole)) refuse('has control or invisible characters in its name');
  if (whole.includes('\\')) refuse('has a backslash in its name');
  if (whole.startsWith('/')) refuse('is an absolute path');
  if (/^[a-z]:/i.test(whole)) refuse('begins with a drive letter');
  const isFolder = whole.endsWith('/');
  const path = isFolder ? whole.slice(0, -1) : whole;
  if (Buffer.byteLength(path) > pathBytes) refuse(`has a path longer than ${pathBytes} bytes`);
  const parts = path.split('/');
  if (parts.length > depth) refuse(`lies deeper than ${depth} folders`);
  for (const part of parts) {
    if (part === '..') refuse('leads out of its folder');
    if (part === '' || part === '.') refuse('has an empty part in its path, or a "."');
    if (Buffer.byteLength(part) > nameBytes) refuse(`has a name longer than ${nameBytes} bytes`);
    if (part.includes(':')) refuse('has a colon in its name');
    if (/[. ]$/.test(part)) refuse('has a name that ends in a dot or a space');
    if (DEVICE.test(part)) refuse('has a name that Windows keeps for a device');
  }
  return { path, parts, isFolder };
}

/** All paths of an archive, and the folders that they imply. No two may be one on any file system. */
export class PathBook {
  readonly #most: number;
  readonly #known = new Map<string, { path: string; isFolder: boolean; listed: boolean }>();

  constructor(most: number) {
    this.#most = most;
  }

  /** Every folder, a folder before what is in it. */
  get folders(): string[] {
    return [...this.#known.values()].flatMap(({ path, isFolder }) => (isFolder ? [path] : [])).sort();
  }

  add({ path, parts, isFolder }: EntryPath): void {
    for (let depth = 1; depth < parts.length; depth += 1) this.#enter(parts.slice(0, depth).join('/'), true, path);
    const known = this.#enter(path, isFolder, path);
    if (known.listed) throw new Rejected(shown(path), 'is in the archive twice', 'path');
    known.listed = true;
  }

  #enter(path: string, isFolder: boolean, entry: string) {
    const key = folded(path.normalize('NFD')).normalize('NFC');
    const known = this.#known.get(key);
    if (known === undefined) {
      if (this.#known.size >= this.#most) {
        throw new Rejected(null, `it has more than ${this.#most} files and folders`, 'files');
      }
      const made = { path, isFolder, listed: false };
      this.#known.set(key, made);
      return made;
    }
    if (known.path !== path) {
      const words = `cannot be told from ${shown(known.path)} where case or accents do not count`;
      throw new Rejected(shown(entry), words, 'path');
    }
    if (known.isFolder !== isFolder) {
      throw new Rejected(shown(entry), `needs ${shown(path)} to be a file and a folder`, 'path');
    }
    return known;
  }
}
