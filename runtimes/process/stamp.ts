import { opendir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * What tells whether the files of a plugin are those of before: names, sizes and times, as deep as programs are laid out.
 * Null where there is so much that to look would take longer than to start the program: nobody is made to wait by folders
 * that somebody has filled.
 */
export async function stampOf(folder: string): Promise<string | null> {
  const found: string[] = [];
  return (await isCollected(folder, 0, found)) ? found.sort().join('\n') : null;
}

/** One after the other, and no further than there is to look at. */
async function isCollected(folder: string, depth: number, found: string[]): Promise<boolean> {
  const entries = await opendir(folder).catch(() => null);
  if (entries === null) return true;
  for await (const entry of entries) {
    if (found.length >= ENTRIES_MOST) return false;
    const path = join(folder, entry.name);
    const seen = await stat(path, { bigint: true }).catch(() => null);
    // The time of a folder changes with whatever comes and goes in it, which is looked at anyway.
    found.push(
      entry.isDirectory() ? `${path}/` : `${path} ${seen?.ino} ${seen?.size} ${seen?.mtimeNs} ${seen?.ctimeNs}`,
    );
    if (entry.isDirectory() && (depth >= DEEPEST || !(await isCollected(path, depth + 1, found)))) return false;
  }
  return true;
}

const ENTRIES_MOST = 64;
const DEEPEST = 3;
