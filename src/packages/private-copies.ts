/**
 * Copies that the programs of one tenant may write to: `<plugin>/<sha256 of the archive>/`. A program that runs as a
 * process may do as it likes in its folder, so it gets one that is its own. A copy lasts until its plugin comes in another
 * archive or goes. Nothing is read back from it but by the program itself.
 */
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../core/failure.ts';
import { fileName } from './file-name.ts';
import { passingName, placed, removeFolder } from './folders.ts';
import { SEALED } from './tree.ts';
import type { Held } from './unpack-cache.ts';
import type { Unpacker } from './unpacker.ts';

export class PrivateCopies {
  readonly #dir: string;
  readonly #unpacker: Unpacker;

  /** `dir` is of one tenant alone. */
  constructor(dir: string, unpacker: Unpacker) {
    this.#dir = dir;
    this.#unpacker = unpacker;
  }

  /** The copy for a plugin, with all that its program has written into it so far. */
  async open(plugin: string, sha256: string, { dir, tree }: Held): Promise<string> {
    const folder = join(this.#dir, fileName(plugin));
    const copy = join(folder, sha256);
    if (await isFolder(copy)) return copy;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const unfinished = join(folder, passingName());
    try {
      const copied = await this.#unpacker.copy(dir, unfinished, SEALED);
      if (copied.hash !== tree.hash)
        throw new Failure('internal', `The package ${sha256} was changed while it was copied`);
      if (!(await placed(unfinished, copy)) && !(await isFolder(copy))) throw new Error(`${copy} is in the way`);
      return copy;
    } finally {
      await removeFolder(unfinished);
    }
  }

  /** Removes all copies but these: by plugin, the archive that it comes from now. */
  async retain(current: ReadonlyMap<string, string>): Promise<void> {
    const kept = new Map([...current].map(([plugin, sha256]) => [fileName(plugin), sha256]));
    for (const plugin of await names(this.#dir)) {
      const sha256 = kept.get(plugin);
      if (sha256 === undefined) await removeFolder(join(this.#dir, plugin));
      else {
        const others = (await names(join(this.#dir, plugin))).filter((name) => name !== sha256);
        for (const other of others) await removeFolder(join(this.#dir, plugin, other));
      }
    }
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null))?.isDirectory() === true;
}

async function names(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
    throw error;
  });
}
