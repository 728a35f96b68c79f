/**
 * Which files a zip holds. Readers of zips differ in which of its bytes they believe, and what one has checked another
 * unpacks as something else. So an archive is taken only where there is nothing to choose from: local entries from the
 * first byte on, one right after the other, then the central directory that says the same of them, then its end, and no
 * byte before, between or after. That is what every archiver writes. Overlapping entries cannot be, either.
 */
import yauzl from 'yauzl';
import type { ArchiveLimits } from './archive-limits.ts';
import { type EntryPath, entryPath, PathBook } from './entry-path.ts';
import { Rejected, shown } from './rejected.ts';

export type ZipFile = EntryPath & {
  /** As it lies in the archive. */
  data: Buffer;
  deflated: boolean;
  /** What the archive says of it. */
  bytes: number;
  crc32: number;
  executable: boolean;
};

export type ZipContent = { files: ZipFile[] /** Each before what is in it. */; folders: string[] };

const END_SIGNATURE = 0x06054b50;
const END_BYTES = 22;
const ZIP64_LOCATOR_SIGNATURE = 0x07064b50;
const ZIP64_LOCATOR_BYTES = 20;
const DESCRIPTOR_SIGNATURE = 0x08074b50;
const MOST_32 = 0xffffffff;

/** General purpose flags (APPNOTE.TXT 4.4.4). */
const FLAG = { encrypted: 0x1, descriptor: 0x8, patch: 0x20, strong: 0x40, masked: 0x2000 } as const;
const METHOD = { stored: 0, deflated: 8 } as const;
/** Extra fields (APPNOTE.TXT 4.5 and Info-ZIP's extrafld.txt). */
const EXTRA = { zip64: 0x0001, unix: 0x000d, unicodePath: 0x7075, asiUnix: 0x756e } as const;
/** Types of a Unix mode, and attributes of DOS and Windows. */
const MODE = { type: 0o170000, file: 0o100000, folder: 0o040000, executable: 0o111 } as const;
const ATTRIBUTE = { volume: 0x08, folder: 0x10, device: 0x40, reparse: 0x400 } as const;

/** Throws Rejected. Nothing is inflated yet: sizes are claims. */
export async function readZip(archive: Buffer, limits: ArchiveLimits): Promise<ZipContent> {
  const end = endOf(archive);
  const claimed = archive.readUInt16LE(end + 10);
  if (claimed > limits.entries) {
    throw new Rejected(null, `it has ${claimed} entries, and may have ${limits.entries}`, 'files');
  }
  const entries = await listed(archive, end, limits);
  const paths = new PathBook(limits.entries);
  const files: ZipFile[] = [];
  for (const { entry, local, path } of entries) {
    assertPlain(entry, path);
    assertSame(entry, local);
    paths.add(path);
    if (path.isFolder) continue;
    files.push({
      ...path,
      data: archive.subarray(local.fileDataStart, local.fileDataStart + entry.compressedSize),
      deflated: entry.compressionMethod === METHOD.deflated,
      bytes: entry.uncompressedSize,
      crc32: entry.crc32,
      executable: ((entry.externalFileAttributes >>> 16) & MODE.executable) !== 0,
    });
  }
  assertSeamless(archive, entries, archive.readUInt32LE(end + 16));
  assertBounded(archive, files, limits);
  if (files.length === 0) throw new Rejected(null, 'there is no file in it', 'empty');
  return { files, folders: paths.folders };
}

/** Where the end record begins. The central directory reaches to there, and its comment to the last byte. */
function endOf(archive: Buffer): number {
  const first = Math.max(0, archive.length - END_BYTES - 0xffff);
  let at = archive.length - END_BYTES;
  while (at >= first && archive.readUInt32LE(at) !== END_SIGNATURE) at -= 1;
  if (at < first) throw new Rejected(null, 'it is no zip archive, or only a part of one');
  if (at + END_BYTES + archive.readUInt16LE(at + 20) !== archive.length) {
    throw new Rejected(null, 'there is something behind its end, or it ends twice');
  }
  const locator = at - ZIP64_LOCATOR_BYTES;
  const [disk, firstDisk, here, entries] = [4, 6, 8, 10].map((offset) => archive.readUInt16LE(at + offset));
  const [size, offset] = [archive.readUInt32LE(at + 12), archive.readUInt32LE(at + 16)];
  if (
    (locator >= 0 && archive.readUInt32LE(locator) === ZIP64_LOCATOR_SIGNATURE) ||
    [entries, here].includes(0xffff) ||
    [size, offset].includes(MOST_32)
  ) {
    throw new Rejected(null, 'it is in the format for archives above 4 GB (zip64)');
  }
  if (disk !== 0 || firstDisk !== 0 || here !== entries) throw new Rejected(null, 'it is one of several volumes');
  if (offset + size !== at) {
    throw new Rejected(null, 'its directory is not right before its end: something was put before, or between');
  }
  return at;
}

type Listed = { entry: yauzl.Entry; local: yauzl.LocalFileHeader; path: EntryPath };

async function listed(archive: Buffer, end: number, limits: ArchiveLimits): Promise<Listed[]> {
  const entries: Listed[] = [];
  // Names stay bytes: yauzl would turn a backslash into a slash, and what is not UTF-8 into something else.
  const zip = await attempt(null, () => yauzl.fromBufferPromise(archive, { decodeStrings: false }));
  let at = archive.readUInt32LE(end + 16);
  const each = zip.eachEntry();
  for (;;) {
    const next = await attempt(entries.length === 0 ? null : `(entry ${entries.length + 1})`, () => each.next());
    if (next.done === true) break;
    const entry = next.value;
    const path = entryPath(entry.fileNameRaw, limits);
    const local = await attempt(shown(entry.fileNameRaw), () => zip.readLocalFileHeaderPromise(entry));
    at += CENTRAL_BYTES + entry.fileNameLength + entry.extraFieldLength + entry.fileCommentLength;
    entries.push({ entry, local, path });
  }
  if (at !== end) throw new Rejected(null, 'its directory has more in it than the entries that it counts');
  return entries;
}

const CENTRAL_BYTES = 46;

/** What yauzl throws is about the archive. */
async function attempt<T>(entry: string | null, does: () => Promise<T>): Promise<T> {
  try {
    return await does();
  } catch (error) {
    throw new Rejected(entry, `is damaged (${error instanceof Error ? error.message : error})`);
  }
}

/** Files and folders are what we take, as whoever wrote the archive means them and whatever they wrote it on. */
function assertPlain(entry: yauzl.Entry, { isFolder }: EntryPath): void {
  const refuse = (problem: string, kind?: 'path'): never => {
    throw new Rejected(shown(entry.fileNameRaw), problem, kind);
  };
  const flags = entry.generalPurposeBitFlag;
  if ((flags & (FLAG.encrypted | FLAG.strong | FLAG.masked)) !== 0) refuse('is encrypted');
  const { stored, deflated } = METHOD;
  if ((entry.compressionMethod !== stored && entry.compressionMethod !== deflated) || (flags & FLAG.patch) !== 0) {
    refuse(`is compressed in a way that is not taken (method ${entry.compressionMethod}): use deflate`);
  }
  const mode = entry.externalFileAttributes >>> 16;
  const type = mode & MODE.type;
  if (type !== 0 && type !== MODE.file && type !== MODE.folder) {
    refuse(`is ${kindOf(type)}, not a file or a folder`, 'path');
  }
  const { volume, device, reparse } = ATTRIBUTE;
  if ((entry.externalFileAttributes & (volume | device | reparse)) !== 0) {
    refuse('is a link or a device by its attributes, not a file or a folder', 'path');
  }
  const isFolderToo = type === MODE.folder || (entry.externalFileAttributes & ATTRIBUTE.folder) !== 0;
  if (isFolder ? type === MODE.file : isFolderToo) refuse('says that it is a file and a folder');
  // Some archivers deflate the nothing of a folder, which makes two bytes.
  if (isFolder && (entry.uncompressedSize !== 0 || entry.compressedSize > 2)) refuse('is a folder with content');
  for (const { id, data } of entry.extraFields) {
    if (id === EXTRA.zip64) refuse('is in the format for archives above 4 GB (zip64)');
    if (id === EXTRA.unicodePath && !data.subarray(5).equals(entry.fileNameRaw)) refuse('has two names');
    if (id === EXTRA.unix && data.length > 12) refuse('is a link, not a file or a folder', 'path');
    if (id === EXTRA.asiUnix && isLinkOfAsi(data)) refuse('is a link, not a file or a folder', 'path');
  }
  if ([entry.compressedSize, entry.uncompressedSize, entry.relativeOffsetOfLocalHeader].includes(MOST_32)) {
    refuse('is in the format for archives above 4 GB (zip64)');
  }
}

function kindOf(type: number): string {
  switch (type) {
    case 0o010000:
      return 'a FIFO';
    case 0o020000:
    case 0o060000:
      return 'a device';
    case 0o120000:
      return 'a symbolic link';
    case 0o140000:
      return 'a socket';
    default:
      return 'of a strange kind';
  }
}

/** CRC, mode, length of the link's name. */
function isLinkOfAsi(data: Buffer): boolean {
  if (data.length < 10) return true;
  const type = data.readUInt16LE(4) & MODE.type;
  return data.readUInt32LE(6) !== 0 || (type !== MODE.file && type !== MODE.folder);
}

/** Whoever reads the archive from its start must find what the central directory says. */
function assertSame(entry: yauzl.Entry, local: yauzl.LocalFileHeader): void {
  const refuse: () => never = () => {
    throw new Rejected(shown(entry.fileNameRaw), 'is described in two ways that do not agree');
  };
  const flags = entry.generalPurposeBitFlag ^ local.generalPurposeBitFlag;
  if (!local.fileName.equals(entry.fileNameRaw)) refuse();
  if (local.compressionMethod !== entry.compressionMethod) refuse();
  if ((flags & (FLAG.encrypted | FLAG.descriptor | FLAG.strong | FLAG.masked)) !== 0) refuse();
  const late = (entry.generalPurposeBitFlag & FLAG.descriptor) !== 0;
  const [bytes, compressed] = localSizes(local) ?? refuse();
  if (late && local.crc32 === 0 && bytes === 0 && compressed === 0) return;
  if (local.crc32 !== entry.crc32 || bytes !== entry.uncompressedSize || compressed !== entry.compressedSize) refuse();
}

/** Unpacked and packed. Archivers that do not know the length when they begin leave room for a long one (zip64). */
function localSizes({ uncompressedSize, compressedSize, extraField }: yauzl.LocalFileHeader): [number, number] | null {
  if (uncompressedSize !== MOST_32 && compressedSize !== MOST_32) return [uncompressedSize, compressedSize];
  for (let at = 0; at + 4 <= extraField.length; at += 4 + extraField.readUInt16LE(at + 2)) {
    if (extraField.readUInt16LE(at) !== EXTRA.zip64) continue;
    if (extraField.readUInt16LE(at + 2) < 16 || at + 20 > extraField.length) return null;
    return [Number(extraField.readBigUInt64LE(at + 4)), Number(extraField.readBigUInt64LE(at + 12))];
  }
  return null;
}

/** From the first byte to the central directory there is nothing but the entries, and no byte belongs to two. */
function assertSeamless(archive: Buffer, entries: readonly Listed[], directory: number): void {
  const inOrder = [...entries].sort((a, b) => startOf(a) - startOf(b));
  let at = 0;
  for (const [index, { entry, local }] of inOrder.entries()) {
    const start = entry.relativeOffsetOfLocalHeader;
    const end = local.fileDataStart + entry.compressedSize;
    const next = inOrder[index + 1];
    const nextStart = next === undefined ? directory : startOf(next);
    if (start !== at) throw new Rejected(shown(entry.fileNameRaw), 'does not begin where what is before it ends');
    if (nextStart < end) throw new Rejected(shown(entry.fileNameRaw), 'overlaps with what comes after it');
    if (nextStart > end && !isDescriptor(archive.subarray(end, nextStart), entry)) {
      throw new Rejected(shown(entry.fileNameRaw), 'has bytes behind it that belong to nothing');
    }
    if (nextStart === end && (entry.generalPurposeBitFlag & FLAG.descriptor) !== 0 && !knowsItsSize(local, entry)) {
      throw new Rejected(shown(entry.fileNameRaw), 'does not say how long it is');
    }
    at = nextStart;
  }
  if (inOrder.length === 0 && directory !== 0) throw new Rejected(null, 'something was put before it');
}

function startOf({ entry }: Listed): number {
  return entry.relativeOffsetOfLocalHeader;
}

function knowsItsSize(local: yauzl.LocalFileHeader, entry: yauzl.Entry): boolean {
  return local.crc32 === entry.crc32 && localSizes(local)?.[1] === entry.compressedSize;
}

/** Sizes and CRC once more, behind the data: with a signature or without, in 32 bits or in 64. */
function isDescriptor(bytes: Buffer, { generalPurposeBitFlag, ...entry }: yauzl.Entry): boolean {
  if ((generalPurposeBitFlag & FLAG.descriptor) === 0) return false;
  const signed = bytes.length === 16 || bytes.length === 24;
  if (signed && bytes.readUInt32LE(0) !== DESCRIPTOR_SIGNATURE) return false;
  const rest = signed ? bytes.subarray(4) : bytes;
  if (rest.length !== 12 && rest.length !== 20) return false;
  const [packed, unpacked] =
    rest.length === 12
      ? [rest.readUInt32LE(4), rest.readUInt32LE(8)]
      : [Number(rest.readBigUInt64LE(4)), Number(rest.readBigUInt64LE(12))];
  return rest.readUInt32LE(0) === entry.crc32 && packed === entry.compressedSize && unpacked === entry.uncompressedSize;
}

/** By what the archive says. What really comes of it is held to that, and so to this. */
function assertBounded(archive: Buffer, files: readonly ZipFile[], limits: ArchiveLimits): void {
  const { fileBytes, unpackedBytes, ratio, ratioFreeBytes } = limits;
  let all = 0;
  for (const { path, bytes, data } of files) {
    if (bytes > fileBytes) {
      throw new Rejected(shown(path), `has ${bytes} bytes unpacked, and may have ${fileBytes}`, 'file bytes');
    }
    if (bytes > ratioFreeBytes && bytes > data.length * ratio) {
      throw new Rejected(shown(path), `unpacks to more than ${ratio} times its size`, 'file bytes');
    }
    all += bytes;
    if (all > unpackedBytes) {
      const words = `is one too many: all files together may have ${unpackedBytes} bytes unpacked`;
      throw new Rejected(shown(path), words, 'bytes');
    }
  }
  if (all > ratioFreeBytes && all > archive.length * ratio) {
    throw new Rejected(null, `it unpacks to more than ${ratio} times its size`, 'bytes');
  }
}
