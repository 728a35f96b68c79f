import { randomUUID } from 'node:crypto';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Invocation } from '../../src/core/invocation.ts';

/**
 * What a raw plugin finds on its standard input, byte for byte as Stash writes it: one JSON object and no newline,
 * the fields of `server_connection` in the order of its type, and maps sorted by key as Go's encoder does.
 */
export function rawInput(invocation: Pick<Invocation, 'connection' | 'args'>): string {
  return `{"server_connection":${goJson(invocation.connection, false)},"args":${goJson(invocation.args, true)}}`;
}

/**
 * The text as something to read from: a file of our own that has lost its name. Unlike a pipe it can be opened again
 * as `/dev/stdin`, needs nobody to write it, and does not care whether it is ever read.
 */
export async function opened(text: string, folder: string): Promise<FileHandle> {
  const name = join(folder, `input-${randomUUID()}`);
  // The folder is ours alone; the file is for whoever the plugin runs as.
  const file = await open(name, 'wx', 0o644);
  try {
    await file.writeFile(text);
    return await open(name, 'r');
  } finally {
    await unlink(name);
    await file.close();
  }
}

/** `value` as Go's `encoding/json` writes it; `sorted` for what is a map over there and not a struct. */
function goJson(value: unknown, sorted: boolean): string {
  switch (typeof value) {
    case 'string':
      return goString(value);
    case 'number':
      return Object.is(value, -0) ? '-0' : JSON.stringify(value);
    case 'boolean':
      return String(value);
    case 'object': {
      if (value === null) return 'null';
      if (Array.isArray(value)) return `[${value.map((one) => goJson(one, sorted)).join(',')}]`;
      const map = value as Record<string, unknown>;
      const keys = Object.keys(map).filter((key) => map[key] !== undefined);
      if (sorted) sortKeys(keys);
      return `{${keys.map((key) => `${goString(key)}:${goJson(map[key], sorted)}`).join(',')}}`;
    }
    default:
      return 'null';
  }
}

function goString(text: string): string {
  return JSON.stringify(text.toWellFormed()).replace(SPECIAL, (one) => ESCAPES[one] as string);
}

/** Go escapes these so that its JSON may stand in a script. */
const SPECIAL = /[<>&\u2028\u2029]/g;
const ESCAPES: Record<string, string> = {
  '<': '\\u003c',
  '>': '\\u003e',
  '&': '\\u0026',
  '\u2028': '\\u2028',
  '\u2029': '\\u2029',
};

/** Go sorts by bytes of UTF-8, JavaScript by UTF-16 units: they differ only where a key has surrogates. */
function sortKeys(keys: string[]): void {
  if (keys.some((key) => /[\ud800-\udfff]/.test(key))) {
    keys.sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
  } else {
    keys.sort();
  }
}
