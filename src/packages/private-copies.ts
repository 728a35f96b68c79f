/**
 * Copies that the programs of one tenant may write to: `<sha256 of the archive>/`. A program that runs as a process may do
 * as it likes in its folder, so it does not get the one that others use, too. What came in one archive is of one author,
 * and shares one copy. It lasts as long as one of its plugins is installed from that archive. Nothing is read back from
 * it but by the programs themselves.
 */
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../core/failure.ts';
import { passingName, passingSince, placed } from './folders.ts';
import type { Remover } from './remover.ts';
import { SEALED } from './tree.ts';
import type { Held } from './unpack-cache.ts';
import type { Unpacker } from './unpacker.ts';

export class PrivateCopies {
  readonly #dir: string;
  readonly #unpacker: Unpacker;
  readonly #remover: Remover;

  /** `dir` is of one tenant alone. */
  constructor(dir: string, unpacker: Unpacker, remover: Remover) {
    this.#dir = dir;
    this.#unpacker = unpacker;
    this.#remover = remover;
  }

  /** The copy of an archive, with all that its programs have written into it so far. */
  async open(sha256: string, { dir, tree }: Held): Promise<string> {
    const copy = join(this.#dir, sha256);
    if (await isFolder(copy)) return copy;
    await mkdir(this.#dir, { recursive: true, mode: 0o711 });
    const unfinished = join(this.#dir, passingName());
    try {
      const copied = await this.#unpacker.copy(dir, unfinished, SEALED);
      if (copied.hash !== tree.hash)
        throw new Failure('internal', `The package ${sha256} was changed while it was copied`);
      if (!(await placed(unfinished, copy)) && !(await isFolder(copy))) throw new Error(`${copy} is in the way`);
      return copy;
    } finally {
      await this.#remover.remove(unfinished);
    }
  }

  /** Removes all copies but those of these archives. */
  async retain(archives: ReadonlySet<string>): Promise<void> {
    await this.#remover.sweep(this.#dir);
    for (const name of await names(this.#dir)) {
      if (!archives.has(name) && passingSince(name) === null) await this.#remover.remove(join(this.#dir, name));
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
