/**
 * What is in a folder, and one hash for all of it: names, contents, and what may be executed. Two folders with the same
 * hash are the same, but for owners and times.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';

export type TreeFile = { path: string; bytes: number; sha256: string; executable: boolean };

export type Tree = {
  /** By the bytes of their paths, which are relative and have slashes. */
  files: readonly TreeFile[];
  folders: readonly string[];
  bytes: number;
  /** SHA-256 in hexadecimal. */
  hash: string;
};

/** The permissions of files, and of those that may be executed. */
export type Modes = { file: number; executable: number };

export const WRITABLE: Modes = { file: 0o644, executable: 0o755 };
export const SEALED: Modes = { file: 0o444, executable: 0o555 };
export const FOLDER_MODE = 0o755;

export function treeOf(files: readonly TreeFile[], folders: readonly string[]): Tree {
  const sorted = [...files].sort(byPath((file) => file.path));
  const sortedFolders = [...folders].sort(byPath((path) => path));
  const hash = createHash('sha256').update('isopod tree 1\0');
  for (const path of sortedFolders) hash.update(`folder\0${path}\0`);
  let all = 0;
  for (const { path, bytes, sha256, executable } of sorted) {
    hash.update(`${executable ? 'program' : 'file'}\0${path}\0${bytes}\0${sha256}\0`);
    all += bytes;
  }
  return { files: sorted, folders: sortedFolders, bytes: all, hash: hash.digest('hex') };
}

/** What it takes of a disk, as file systems count: in blocks, of which the smallest file and each folder have one. */
export function roomOf({ files, folders }: Tree): number {
  const blocks = files.reduce((sum, { bytes }) => sum + blocksOf(bytes), folders.length);
  return blocks * BLOCK_BYTES;
}

function blocksOf(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / BLOCK_BYTES));
}

const BLOCK_BYTES = 4_096;

export type WalkOptions = {
  /** Any file with other permissions makes it another folder. */
  modes: Modes;
  /** So much is looked at, at most. */
  most: { entries: number; bytes: number };
  /** Told of all that is read, in order. */
  each?: (part: { folder: string } | { file: string; executable: boolean } | { bytes: Uint8Array } | 'end') => void;
};

/** Reads a folder whole. Throws for whatever we would never have put there: then it is not ours. */
export function walk(root: string, { modes, most, each = () => {} }: WalkOptions): Tree {
  const files: TreeFile[] = [];
  const folders: string[] = [];
  let bytes = 0;
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  const visit = (folder: string) => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (files.length + folders.length >= most.entries) throw new Error(`more than ${most.entries} files and folders`);
      if (entry.isDirectory()) {
        folders.push(path);
        each({ folder: path });
        visit(path);
      } else {
        const file = readWhole(path);
        files.push(file);
      }
    }
  };
  const readWhole = (path: string): TreeFile => {
    // A FIFO that was put there must not make us wait.
    const fd = openSync(join(root, path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(fd);
      const mode = stats.mode & 0o7777;
      const executable = mode === modes.executable;
      if (!stats.isFile() || !(executable || mode === modes.file)) throw new Error(`${path} is not as it was written`);
      each({ file: path, executable });
      const hash = createHash('sha256');
      let length = 0;
      for (let read = readSync(fd, buffer); read > 0; read = readSync(fd, buffer)) {
        length += read;
        bytes += read;
        if (bytes > most.bytes) throw new Error(`more than ${most.bytes} bytes`);
        hash.update(buffer.subarray(0, read));
        each({ bytes: buffer.subarray(0, read) });
      }
      each('end');
      return { path, bytes: length, sha256: hash.digest('hex'), executable };
    } finally {
      closeSync(fd);
    }
  };
  if (!lstatSync(root).isDirectory()) throw new Error('not a folder');
  visit('');
  return treeOf(files, folders);
}

/** What a folder takes of a disk (see `roomOf`), without a look into its files. */
export function sizeOf(root: string): number {
  let blocks = 0;
  for (const entry of readdirSync(root, { withFileTypes: true, recursive: true })) {
    const stats = lstatSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false });
    blocks += stats?.isFile() === true ? blocksOf(stats.size) : 1;
  }
  return blocks * BLOCK_BYTES;
}

const BUFFER_BYTES = 256 * 1024;

function byPath<T>(pathOf: (one: T) => string) {
  return (a: T, b: T) => Buffer.compare(Buffer.from(pathOf(a)), Buffer.from(pathOf(b)));
}
