import { createHash } from 'node:crypto';
import { lstat, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** So many files and folders are looked at. */
const ENTRIES_MOST = 20_000;

/** What Python writes beside what it runs, and makes anew. */
export const BYTECODE = '__pycache__';

/**
 * The same for as long as no file of a folder is another one, by names, sizes and times. No link is followed. Nothing is
 * said of what comes after the first 20,000 files.
 */
export async function stampOf(folder: string): Promise<string> {
  const hash = createHash('sha256');
  let left = ENTRIES_MOST;
  const visit = async (path: string) => {
    const names = await readdir(join(folder, path)).catch(() => []);
    for (const name of names.sort()) {
      if (name === BYTECODE) continue;
      left -= 1;
      if (left < 0) return;
      const under = join(path, name);
      const stats = await lstat(join(folder, under), { bigint: true }).catch(() => null);
      if (stats === null) continue;
      const { size, mtimeNs, ctimeNs, mode } = stats;
      // Of a folder, what is in it counts: its own times change with what is left out here.
      const parts = stats.isDirectory() ? [] : [size, mtimeNs, ctimeNs];
      hash.update(`${[under, mode, ...parts].join('\0')}\n`);
      if (stats.isDirectory()) await visit(under);
    }
  };
  await visit('');
  return hash.digest('base64url');
}

/** The same for as long as that file is not another one, whether it is a link to it or itself. */
export async function stampOfFile(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(':');
  } catch {
    // Not there, or not a path at all. Running it will say so.
    return 'absent';
  }
}
