import { access, constants, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { above } from './room.ts';

/** The first executable file of that name in `path`. Entries that depend on where we happen to stand are skipped. */
export async function onPath(name: string, path: string | undefined): Promise<string | null> {
  if (name === '' || name.includes('/')) return null;
  for (const dir of (path ?? '').split(':')) {
    if (isAbsolute(dir) && (await isExecutable(join(dir, name)))) return join(dir, name);
  }
  return null;
}

/** All executable files of these names in `path`, in its order. */
export async function everyOnPath(names: readonly string[], path: string | undefined): Promise<string[]> {
  const found: string[] = [];
  for (const name of names) {
    for (const dir of new Set((path ?? '').split(':').filter(isAbsolute))) {
      if (await isExecutable(join(dir, name))) found.push(join(dir, name));
    }
  }
  return found;
}

export async function isFile(file: string): Promise<boolean> {
  return (await stat(file).catch(() => null))?.isFile() === true;
}

export async function isExecutable(file: string): Promise<boolean> {
  if (!(await isFile(file))) return false;
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** Whether anybody on this machine may read it, and get there. */
export async function isOpenToAll(path: string): Promise<boolean> {
  const modes = await Promise.all([...above(path), path].map(modeOf));
  return modes.every((mode) => (mode & 0o001) !== 0) && ((modes.at(-1) ?? 0) & 0o004) !== 0;
}

async function modeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => null))?.mode ?? 0;
}
