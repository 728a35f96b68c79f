import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * What tells whether the files of a plugin are those of before: names, sizes and times, as deep as programs are laid out.
 * Null where there are so many that to look would take longer than to start the program.
 */
export async function stampOf(folder: string): Promise<string | null> {
  const found: string[] = [];
  await collect(folder, 0, found);
  return found.length > FILES_MOST ? null : found.sort().join('\n');
}

async function collect(folder: string, depth: number, found: string[]): Promise<void> {
  if (found.length > FILES_MOST) return;
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  await Promise.all(
    entries.slice(0, FILES_MOST + 1).map(async (entry) => {
      const path = join(folder, entry.name);
      const seen = await stat(path, { bigint: true }).catch(() => null);
      // A folder changes whenever an interpreter leaves something in there.
      if (entry.isDirectory()) {
        if (depth < DEEPEST && entry.name !== '__pycache__') await collect(path, depth + 1, found);
      } else found.push(`${path} ${seen?.ino} ${seen?.size} ${seen?.mtimeNs}`);
    }),
  );
}

const FILES_MOST = 64;
const DEEPEST = 3;
