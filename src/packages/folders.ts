/** Folders that are put in place whole, and taken away whole. */
import { randomBytes } from 'node:crypto';
import { chmod, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** The name of a folder that does not count yet, or any more. It says when it was made, for whoever finds it left. */
export function passingName(): string {
  return `.${Date.now().toString(36)}-${randomBytes(9).toString('hex')}`;
}

/** When such a folder was made; null for any other name. */
export function passingSince(name: string): number | null {
  const found = /^\.([0-9a-z]{1,11})-[0-9a-f]{18}$/.exec(name)?.[1];
  return found === undefined ? null : Number.parseInt(found, 36);
}

/** Whether it is there under that name now; not, where another one is. */
export async function placed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (TAKEN.has((error as { code?: string }).code ?? '')) return false;
    throw error;
  }
}

const TAKEN: ReadonlySet<string> = new Set(['ENOTEMPTY', 'EEXIST', 'ENOTDIR']);

/** Removes a folder with all that is in it, also where somebody has taken the right to do so from us. */
export async function removeFolder(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 5 });
  } catch (error) {
    const { code } = error as { code?: string };
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    await allow(path);
    await rm(path, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function allow(folder: string): Promise<void> {
  await chmod(folder, 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await allow(join(folder, entry.name));
  }
}
