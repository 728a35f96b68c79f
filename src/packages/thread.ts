/** What runs in the thread: see unpacker.ts. What goes wrong comes back as data. */
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, createInflateRaw } from 'node:zlib';
import { move, transferableSymbol, valueSymbol } from 'piscina';
import type { ArchiveLimits } from './archive-limits.ts';
import { NewFile } from './new-file.ts';
import { Rejected, type Rejection, shown } from './rejected.ts';
import {
  FOLDER_MODE,
  type Modes,
  sizeOf,
  type Tree,
  type TreeFile,
  treeOf,
  WRITABLE,
  walk as walkTree,
} from './tree.ts';
import { readZip, type ZipFile } from './zip.ts';

export type UnpackTask = { archive: Uint8Array; dir: string; modes: Modes; limits: ArchiveLimits };
export type Unpacked =
  | { ok: true; archive: Uint8Array; sha256: string; tree: Tree }
  | { ok: false; rejection: Rejection };

/** The archive goes back to whoever sent it. */
export async function unpack({ archive, dir, modes, limits }: UnpackTask): Promise<Unpacked> {
  const bytes = Buffer.from(archive.buffer, archive.byteOffset, archive.length);
  try {
    const { files, folders } = await readZip(bytes, limits);
    for (const folder of folders) makeFolder(join(dir, folder));
    const written: TreeFile[] = [];
    for (const file of files) written.push(await write(dir, file, modes));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const value: Unpacked = { ok: true, archive, sha256, tree: treeOf(written, folders) };
    // biome-ignore lint/suspicious/noExplicitAny: Piscina's type knows only what is transferred as a whole
    return move({ [transferableSymbol]: [archive.buffer], [valueSymbol]: value } as any) as any;
  } catch (error) {
    if (error instanceof Rejected) return { ok: false, rejection: error.toRejection() };
    throw error;
  }
}

export type WalkTask = { dir: string; modes: Modes; limits: ArchiveLimits };

/** null where it is not what we have written. */
export function walk({ dir, modes, limits }: WalkTask): Tree | null {
  try {
    return walkTree(dir, { modes, most: most(limits) });
  } catch {
    return null;
  }
}

export function size({ dir }: { dir: string }): number {
  return sizeOf(dir);
}

export type CopyTask = { from: string; to: string; modes: Modes; limits: ArchiveLimits };

/** A copy that may be written to. The tree is of what was copied. */
export function copy({ from, to, modes, limits }: CopyTask): Tree {
  let file: NewFile | undefined;
  let executable = false;
  return walkTree(from, {
    modes,
    most: most(limits),
    each(part) {
      if (part === 'end') {
        file?.finish(executable, WRITABLE);
        file?.[Symbol.dispose]();
      } else if ('folder' in part) makeFolder(join(to, part.folder));
      else if ('file' in part) {
        file = new NewFile(to, part.file);
        executable = part.executable;
      } else file?.write(part.bytes);
    },
  });
}

async function write(dir: string, { path, data, deflated, bytes, crc32: claimed, executable }: ZipFile, modes: Modes) {
  using file = new NewFile(dir, path);
  let crc = 0;
  for await (const chunk of deflated ? inflated(data, path) : [data]) {
    // Sizes that are claimed have been found bearable, so this is the bound on what an archive becomes.
    if (file.bytes + chunk.length > bytes)
      throw new Rejected(shown(path), `is longer than the ${bytes} bytes it claims`);
    crc = crc32(chunk, crc);
    file.write(chunk);
  }
  if (file.bytes < bytes) throw new Rejected(shown(path), `is shorter than the ${bytes} bytes it claims`);
  if (crc !== claimed) throw new Rejected(shown(path), 'is damaged: its checksum is another');
  return file.finish(executable, modes);
}

async function* inflated(data: Buffer, path: string): AsyncGenerator<Buffer> {
  const inflate = createInflateRaw();
  inflate.end(data);
  try {
    yield* inflate;
  } catch (error) {
    throw new Rejected(shown(path), `is damaged (${(error as Error).message})`);
  }
  if (inflate.bytesWritten !== data.length) throw new Rejected(shown(path), 'has bytes behind the end of its data');
}

function makeFolder(path: string): void {
  mkdirSync(path);
  chmodSync(path, FOLDER_MODE);
}

function most({ entries, unpackedBytes }: ArchiveLimits) {
  return { entries, bytes: unpackedBytes };
}
