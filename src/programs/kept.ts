import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';

export type Kept = { bytes: number; entries: number };

/**
 * What folders take of a disk, and how many files and folders are in them; looks at no more than `most`. They are somebody's
 * who may change them meanwhile: links are not followed, and what goes while we look counts for nothing.
 */
export async function keptIn(folders: readonly string[], most: number): Promise<Kept> {
  const kept = { bytes: 0, entries: 0 };
  const next = [...folders];
  for (let folder = next.pop(); folder !== undefined && kept.entries <= most; folder = next.pop()) {
    const entries = await opendir(folder).catch(() => null);
    if (entries === null) continue;
    for await (const entry of entries) {
      kept.entries += 1;
      if (kept.entries > most) break;
      // Others get their turn, however many there are.
      if (kept.entries % AT_ONCE === 0) await turn();
      const path = join(folder, entry.name);
      const found = await lstat(path).catch(() => null);
      if (found === null) continue;
      kept.bytes += found.blocks * BLOCK_BYTES;
      if (found.isDirectory()) next.push(path);
    }
  }
  return kept;
}

const AT_ONCE = 100;
/** As `stat` counts them, whatever the file system has. */
const BLOCK_BYTES = 512;
