/**
 * A file of a plugin that is served to others. Whatever runs of the plugin may change its folder while we look: what was
 * inside when its path was checked can be a link to our configuration when it is opened. So the path is never asked. What
 * it leads to is taken hold of first, then the kernel says where that is, and what was held is what is read.
 *
 * Links are what must be refused, as it is we who follow them, with rights that a confined program does not have. A
 * second hard link is none of these: whoever can make one has to reach the file itself, and the same file system by the
 * same mount, so could as well copy it; and package stores and backups are full of them.
 */
import { hash } from 'node:crypto';
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, open, readlink, realpath } from 'node:fs/promises';
import { sep } from 'node:path';
import { Readable } from 'node:stream';

/** Why there is nothing to read: no such file, not in the plugin's folder, or no regular file. */
export type Missing = 'absent' | 'outside' | 'no file';

const CHUNK_BYTES = 64 * 1024;

export class PluginFile implements AsyncDisposable {
  readonly bytes: number;
  /** Another one, when the file is another or was changed. Says nothing of where or what it is. */
  readonly stamp: string;
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle, { dev, ino, size, mtimeNs, ctimeNs }: BigIntStats) {
    this.#handle = handle;
    this.bytes = Number(size);
    this.stamp = hash('sha256', [dev, ino, size, mtimeNs, ctimeNs].join(':'), 'base64url').slice(0, 22);
  }

  /** `realDir` is the plugin's folder, without links; `path` is to lead to something in there. */
  static async open(realDir: string, path: string): Promise<PluginFile | Missing> {
    const take = process.platform === 'linux' ? pinned : compared;
    try {
      const taken = await take(realDir, path);
      return typeof taken === 'string' ? taken : new PluginFile(taken.handle, taken.stats);
    } catch (error) {
      if (ABSENT.has((error as { code?: string }).code ?? '')) return 'absent';
      throw error;
    }
  }

  /**
   * Exactly those bytes, or an error when there are not so many any more: of an answer that is shorter than it said, a
   * client would take the beginning of the next one for its end.
   */
  read(from: number, length: number): Readable {
    return Readable.from(chunks(this.#handle, from, length), { objectMode: false });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

const ABSENT: ReadonlySet<string> = new Set([
  'ENOENT',
  'ENOTDIR',
  'EACCES',
  'EPERM',
  'ELOOP',
  'ENAMETOOLONG',
  'ENXIO',
  'ENODEV',
  // NUL in a path that a manifest names.
  'ERR_INVALID_ARG_VALUE',
]);

type Taken = { handle: FileHandle; stats: BigIntStats };

/** O_PATH of Linux: holds what a path leads to without opening it, which for a FIFO or a device is an act. */
const PATH_ONLY = 0o10000000;

async function pinned(realDir: string, path: string): Promise<Taken | Missing> {
  await using place = await open(path, PATH_ONLY);
  const same = `/proc/self/fd/${place.fd}`;
  if (!isInside(realDir, await readlink(same))) return 'outside';
  if (!(await place.stat()).isFile()) return 'no file';
  return await regular(same, constants.O_RDONLY | constants.O_NONBLOCK);
}

/**
 * Where the kernel does not tell. It is the file that lies at a path without links before and after; somebody who
 * changes the path back and forth at just the right times gets past this.
 */
export async function compared(realDir: string, path: string): Promise<Taken | Missing> {
  const real = await realpath(path);
  if (!isInside(realDir, real)) return 'outside';
  if (!(await lstat(real)).isFile()) return 'no file';
  const taken = await regular(real, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  if (typeof taken === 'string') return taken;
  const isSame = await stillThere(path, real, taken.stats).catch(() => false);
  if (isSame) return taken;
  await taken.handle.close();
  return 'outside';
}

async function stillThere(path: string, real: string, { dev, ino }: BigIntStats): Promise<boolean> {
  const now = await lstat(real, { bigint: true });
  return now.dev === dev && now.ino === ino && (await realpath(path)) === real;
}

async function regular(path: string, flags: number): Promise<Taken | Missing> {
  const handle = await open(path, flags);
  try {
    const stats = await handle.stat({ bigint: true });
    if (stats.isFile()) return { handle, stats };
  } catch (error) {
    await handle.close();
    throw error;
  }
  await handle.close();
  return 'no file';
}

function isInside(realDir: string, real: string): boolean {
  return real.startsWith(realDir + sep);
}

async function* chunks(handle: FileHandle, from: number, length: number): AsyncGenerator<Buffer> {
  for (let at = from; at < from + length; ) {
    const size = Math.min(CHUNK_BYTES, from + length - at);
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(size), 0, size, at);
    if (bytesRead === 0) throw new Error('The file has become shorter while it was read');
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
