/**
 * A copy of a folder that a program may write to. It has the files of the folder and those links that stay in there, and
 * nothing else of what a folder can hold: neither sockets nor FIFOs nor devices, nor what a link leads to elsewhere.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, realpath, symlink } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { kindOf } from './discovery.ts';
import { BYTECODE } from './folder-stamp.ts';

export type CopyLimits = { entries: number; depth: number; bytes: number };

export const COPY_LIMITS: CopyLimits = { entries: 20_000, depth: 64, bytes: 512 * 1024 * 1024 };

/** What a copy would be too much of: `name` is the limit's. */
export class TooMuch extends Error {
  override readonly name = 'TooMuch';
  readonly limit: keyof CopyLimits;

  constructor(limit: keyof CopyLimits) {
    super(`more than the limit of ${limit}`);
    this.limit = limit;
  }
}

/**
 * `from` is without links, and `to` is not there yet. Throws TooMuch, and errors of the file system; what is there of the
 * copy stays then.
 */
export async function copyFolder(from: string, to: string, limits: CopyLimits = COPY_LIMITS): Promise<void> {
  if ((await realpath(from)) !== from) throw Object.assign(new Error(`${from} is a link by now`), { code: 'ELOOP' });
  await new Copying(from, to, limits).folder('', 0);
}

/** The same of a folder as if it had but one file, which is under its name in `to`, also where that is a link. */
export async function copyFile(
  from: string,
  name: string,
  to: string,
  limits: CopyLimits = COPY_LIMITS,
): Promise<void> {
  await new Copying(from, to, limits).fileAlone(name);
}

class Copying {
  readonly #from: string;
  readonly #to: string;
  readonly #limits: CopyLimits;
  #entries = 0;
  #bytes = 0;
  #buffer = Buffer.allocUnsafe(BUFFER_BYTES);

  constructor(from: string, to: string, limits: CopyLimits) {
    this.#from = from;
    this.#to = to;
    this.#limits = limits;
  }

  async folder(path: string, depth: number): Promise<void> {
    if (depth > this.#limits.depth) throw new TooMuch('depth');
    await mkdir(join(this.#to, path), { mode: 0o755 });
    for (const name of await readdir(join(this.#from, path))) {
      if (name === BYTECODE) continue;
      this.#entries += 1;
      if (this.#entries > this.#limits.entries) throw new TooMuch('entries');
      const under = join(path, name);
      const stats = await lstat(join(this.#from, under));
      const kind = kindOf(stats);
      if (kind === 'folder') await this.folder(under, depth + 1);
      else if (kind === 'file') await this.#file(under);
      else if (kind === 'link') await this.#link(under);
    }
  }

  async fileAlone(name: string): Promise<void> {
    const real = await realpath(join(this.#from, name));
    if (!real.startsWith(this.#from + sep))
      throw Object.assign(new Error(`${name} leads elsewhere`), { code: 'ELOOP' });
    await mkdir(this.#to, { mode: 0o755 });
    await this.#file(name, relative(this.#from, real));
  }

  /** `as` is what it is called where it comes from. */
  async #file(path: string, as = path): Promise<void> {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_WRONLY, O_CREAT, O_EXCL } = constants;
    // What it is was looked at before; somebody may have put something else there since.
    await using source = await open(join(this.#from, as), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const stats = await source.stat();
    if (!stats.isFile()) return;
    const mode = (stats.mode & 0o111) === 0 ? 0o644 : 0o755;
    await using target = await open(join(this.#to, path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
    await this.#pour(source, target);
    await target.chmod(mode);
  }

  async #pour(source: FileHandle, target: FileHandle): Promise<void> {
    for (;;) {
      const { bytesRead } = await source.read(this.#buffer, 0, BUFFER_BYTES);
      if (bytesRead === 0) return;
      this.#bytes += bytesRead;
      if (this.#bytes > this.#limits.bytes) throw new TooMuch('bytes');
      for (let at = 0; at < bytesRead; ) at += (await target.write(this.#buffer, at, bytesRead - at)).bytesWritten;
    }
  }

  /** It leads to the same place in the copy, and straight there, whatever other links it went through. */
  async #link(path: string): Promise<void> {
    const real = await realpath(join(this.#from, path)).catch(() => null);
    if (real === null || !real.startsWith(this.#from + sep)) return;
    await symlink(relative(dirname(join(this.#from, path)), real), join(this.#to, path));
  }
}

const BUFFER_BYTES = 256 * 1024;
