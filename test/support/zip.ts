/** Zips by hand: each byte of them can be a lie. For honest ones of real archivers there is yazl. */
import { crc32, deflateRawSync } from 'node:zlib';

export type HandMadeEntry = {
  name: string | Buffer;
  content?: string | Buffer;
  /** As they lie in the archive; by default the content, deflated or stored. */
  data?: Buffer;
  method?: number;
  flags?: number;
  /** Unix mode and DOS attributes. */
  mode?: number;
  attributes?: number;
  madeBy?: number;
  crc?: number;
  bytes?: number;
  packed?: number;
  extra?: Buffer;
  localExtra?: Buffer;
  /** What the local header says where it is not the same. */
  local?: { name?: string; method?: number; flags?: number; crc?: number; bytes?: number; packed?: number };
  /** Behind the data. */
  after?: Buffer;
  /** Where the central directory says that it is. */
  offset?: number;
  /** In the central directory only. */
  unreal?: boolean;
  /** Has a local entry, and none in the central directory. */
  hidden?: boolean;
};

export type HandMadeZip = {
  before?: Buffer;
  /** Between the entries and the central directory. */
  between?: Buffer;
  /** Between the central directory and its end. */
  beforeEnd?: Buffer;
  after?: Buffer;
  comment?: Buffer;
  /** Offsets count from the first byte of the file, not of the archive. */
  adjusted?: boolean;
  end?: { entries?: number; here?: number; size?: number; offset?: number; disk?: number };
};

export function zip(entries: readonly HandMadeEntry[], whole: HandMadeZip = {}): Buffer {
  const parts: Buffer[] = [];
  const central: Buffer[] = [];
  let at = whole.adjusted === true ? (whole.before?.length ?? 0) : 0;
  for (const entry of entries) {
    const name = Buffer.from(entry.name as string);
    const content = Buffer.from((entry.content as string) ?? '');
    const method = entry.method ?? (content.length > 0 ? 8 : 0);
    const data = entry.data ?? (method === 8 ? deflateRawSync(content) : content);
    const flags = entry.flags ?? 0x800;
    const said = {
      crc: entry.crc ?? crc32(content),
      packed: entry.packed ?? data.length,
      bytes: entry.bytes ?? content.length,
    };
    const local = { name: name as Buffer | string, method, flags, ...said, ...entry.local };
    const offset = entry.offset ?? at;
    if (entry.unreal !== true) {
      const localName = Buffer.from(local.name as string);
      const extra = entry.localExtra ?? Buffer.alloc(0);
      const head = numbers([0x04034b50, 4], [20, 2], [local.flags, 2], [local.method, 2], [0, 4], [local.crc, 4]);
      const sizes = numbers([local.packed, 4], [local.bytes, 4], [localName.length, 2], [extra.length, 2]);
      const whole = Buffer.concat([head, sizes, localName, extra, data, entry.after ?? Buffer.alloc(0)]);
      parts.push(whole);
      at += whole.length;
    }
    if (entry.hidden === true) continue;
    const external = (((entry.mode ?? 0o100644) << 16) | (entry.attributes ?? 0)) >>> 0;
    const extra = entry.extra ?? Buffer.alloc(0);
    central.push(
      numbers([0x02014b50, 4], [entry.madeBy ?? 0x031e, 2], [20, 2], [flags, 2], [method, 2], [0, 4], [said.crc, 4]),
      numbers([said.packed, 4], [said.bytes, 4], [name.length, 2], [extra.length, 2], [0, 2], [0, 2], [0, 2]),
      numbers([external, 4], [offset, 4]),
      name,
      extra,
    );
  }
  const directory = Buffer.concat(central);
  const count = entries.filter(({ hidden }) => hidden !== true).length;
  const { entries: all = count, here = all, size = directory.length, disk = 0 } = whole.end ?? {};
  const offset = whole.end?.offset ?? at + (whole.between?.length ?? 0);
  const comment = whole.comment ?? Buffer.alloc(0);
  const end = numbers([0x06054b50, 4], [disk, 2], [disk, 2], [here, 2], [all, 2], [size, 4], [offset, 4]);
  return Buffer.concat([
    ...(whole.before === undefined ? [] : [whole.before]),
    ...parts,
    ...(whole.between === undefined ? [] : [whole.between]),
    directory,
    ...(whole.beforeEnd === undefined ? [] : [whole.beforeEnd]),
    end,
    numbers([comment.length, 2]),
    comment,
    ...(whole.after === undefined ? [] : [whole.after]),
  ]);
}

/** Little end first: value and length of each. */
export function numbers(...values: [number, number][]): Buffer {
  return Buffer.concat(
    values.map(([value, length]) => {
      const bytes = Buffer.alloc(length);
      for (let at = 0; at < length; at += 1) bytes[at] = Math.floor(value / 256 ** at) % 256;
      return bytes;
    }),
  );
}

export function extraField(id: number, data: Buffer): Buffer {
  return Buffer.concat([numbers([id, 2], [data.length, 2]), data]);
}

/** An honest archive of these files. What begins with `#!` may be executed. */
export function zipOf(files: Record<string, string | Buffer>): Buffer {
  return zip(
    Object.entries(files).map(([name, content]) => ({
      name,
      content,
      mode:
        Buffer.from(content as string)
          .subarray(0, 2)
          .toString() === '#!'
          ? 0o100755
          : 0o100644,
    })),
  );
}
