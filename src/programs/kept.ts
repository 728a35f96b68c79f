/** What runs in the thread: see stocktaker.ts. */
import { closeSync, constants, type Dir, lstatSync, opendirSync, openSync } from 'node:fs';

export type Kept = {
  bytes: number;
  entries: number;
  /** Of that, what is in each of the folders. */
  each: { bytes: number; entries: number }[];
  /** Why not all of it could be looked at; null where it was. */
  hidden: string | null;
  /** How long that took. */
  tookMs: number;
};

export type KeptTask = { folders: readonly string[]; most: number };

/**
 * What folders take of a disk, and how many files and folders are in them; looks at no more than `most`. They are somebody's
 * who changes them meanwhile, and would like us to look elsewhere, or not there: so each folder is entered by what was found
 * in the one above and never by a path, names are bytes, links are not followed, and what cannot be looked at is said.
 */
export function keptIn({ folders, most }: KeptTask): Kept {
  const begunAt = performance.now();
  const kept: Kept = { bytes: 0, entries: 0, each: [], hidden: null, tookMs: 0 };
  for (const folder of folders) {
    const { bytes, entries } = kept;
    // Elsewhere there is no such way to enter a folder.
    const handle = process.platform === 'linux' ? opened(folder, kept) : null;
    if (handle !== null) look(handle, kept, most, 0);
    kept.each.push({ bytes: kept.bytes - bytes, entries: kept.entries - entries });
  }
  kept.tookMs = performance.now() - begunAt;
  return kept;
}

/** Closes the handle. */
function look(folder: number, kept: Kept, most: number, depth: number): void {
  const path = Buffer.from(`/proc/self/fd/${folder}`);
  try {
    if (depth > DEEPEST) kept.hidden = `folders more than ${DEEPEST} deep`;
    using dir = listed(path);
    // One after the other: there may be more than anybody has memory for.
    for (let entry = dir.readSync(); entry !== null; entry = dir.readSync()) {
      if (kept.hidden !== null || kept.entries >= most) return;
      kept.entries += 1;
      weigh(Buffer.concat([path, SLASH, entry.name]), kept, most, depth);
    }
  } catch {
    kept.hidden = 'a folder that cannot be read';
  } finally {
    closeSync(folder);
  }
}

/** Of one name in a folder that is held: the name itself is neither followed nor opened, as it may be anything. */
function weigh(path: Buffer, kept: Kept, most: number, depth: number): void {
  let isFolder: boolean;
  try {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return;
    kept.bytes += stats.blocks * BLOCK_BYTES;
    isFolder = stats.isDirectory();
  } catch {
    kept.hidden = 'a file that cannot be looked at';
    return;
  }
  const inside = isFolder ? opened(path, kept) : null;
  if (inside !== null) look(inside, kept, most, depth + 1);
}

/** Null where there is no such folder any more. */
function opened(path: string | Buffer, kept: Kept): number | null {
  try {
    return openSync(path, FOLDER);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!GONE.includes(code)) kept.hidden = 'a folder that cannot be read';
    return null;
  }
}

/** With names as they are; Node's types know text only. */
function listed(path: Buffer): Omit<Dir, 'readSync'> & { readSync(): { name: Buffer } | null } & Disposable {
  const options = { encoding: 'buffer', bufferSize: AT_ONCE };
  return opendirSync(path as unknown as string, options as object) as unknown as ReturnType<typeof listed>;
}

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
const FOLDER = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
/** Removed since, or something else by now. */
const GONE: readonly string[] = ['ENOENT', 'ENOTDIR', 'ELOOP'];
const SLASH = Buffer.from('/');
const DEEPEST = 64;
const AT_ONCE = 256;
/** As `stat` counts them, whatever the file system has. */
const BLOCK_BYTES = 512;
