import { constants } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { setImmediate as turn } from 'node:timers/promises';

export type Kept = {
  bytes: number;
  entries: number;
  /** Why not all of it could be looked at; null where it was. */
  hidden: string | null;
};

/**
 * What folders take of a disk, and how many files and folders are in them; looks at no more than `most`. They are somebody's
 * who changes them meanwhile, and would like us to look elsewhere, or not there: so each folder is entered by what was found
 * in the one above and never by a path, names are bytes, links are not followed, and what cannot be looked at is said.
 */
export async function keptIn(folders: readonly string[], most: number): Promise<Kept> {
  const kept: Kept = { bytes: 0, entries: 0, hidden: null };
  // Elsewhere there is no such way to enter a folder.
  if (process.platform !== 'linux') return kept;
  for (const folder of folders) {
    const handle = await open(folder, FOLDER).catch(() => null);
    if (handle !== null) await look(handle, kept, most, 0);
  }
  return kept;
}

/** Closes the handle. */
async function look(folder: FileHandle, kept: Kept, most: number, depth: number): Promise<void> {
  try {
    const path = Buffer.from(`/proc/self/fd/${folder.fd}`);
    const names = await readdir(path, { encoding: 'buffer' }).catch(() => null);
    if (names === null) kept.hidden = 'a folder that cannot be read';
    if (depth > DEEPEST) kept.hidden = `folders more than ${DEEPEST} deep`;
    for (const name of names ?? []) {
      if (kept.hidden !== null || kept.entries >= most) return;
      kept.entries += 1;
      // Others get their turn, however many there are.
      if (kept.entries % AT_ONCE === 0) await turn();
      await weigh(Buffer.concat([path, SLASH, name]), kept, most, depth);
    }
  } finally {
    await folder.close();
  }
}

async function weigh(path: Buffer, kept: Kept, most: number, depth: number): Promise<void> {
  // Neither followed nor opened for what is in it: it may be anything.
  const handle = await open(path, ONLY).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') kept.hidden = 'a file that cannot be looked at';
    return null;
  });
  if (handle === null) return;
  let isFolder = false;
  try {
    const stats = await handle.stat();
    kept.bytes += stats.blocks * BLOCK_BYTES;
    isFolder = stats.isDirectory();
  } finally {
    await handle.close();
  }
  if (!isFolder) return;
  const inside = await open(path, FOLDER).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EACCES') kept.hidden = 'a folder that cannot be read';
    return null;
  });
  if (inside !== null) await look(inside, kept, most, depth + 1);
}

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
const FOLDER = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
/** O_PATH, for which Node has no name: to hold a file without opening it. */
const ONLY = 0o10000000 | O_NOFOLLOW;
const SLASH = Buffer.from('/');
const DEEPEST = 64;
const AT_ONCE = 100;
/** As `stat` counts them, whatever the file system has. */
const BLOCK_BYTES = 512;
