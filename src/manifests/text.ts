import { isUtf8 } from 'node:buffer';
import { type Position, Refused } from './refused.ts';

// What YAML 1.1 calls unprintable. It may be written as an escape, but not be in the file.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNPRINTABLE = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff]/;

/** The text of a YAML file: UTF-8, or UTF-16 where a byte order mark says so. The mark is dropped. */
export function textOf(bytes: Uint8Array): string {
  // A lone CR ends a line in YAML, but our parser only knows LF and CRLF.
  const text = decoded(bytes).replace(/\r(?!\n)/g, '\n');
  const bad = UNPRINTABLE.exec(text);
  if (bad !== null) {
    const code = bad[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
    throw new Refused(positionIn(text, bad.index), `control character U+${code} is not allowed in YAML`);
  }
  return text;
}

export function positionIn(text: string, offset: number): Position {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { line: before.split('\n').length, column: offset - lineStart + 1 };
}

function decoded(bytes: Uint8Array): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder('utf-16le').decode(bytes);
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder('utf-16be').decode(bytes);
  if (!isUtf8(bytes)) throw new Refused({ line: firstBadLine(bytes), column: 1 }, 'this line is not valid UTF-8');
  return new TextDecoder('utf-8').decode(bytes);
}

function firstBadLine(bytes: Uint8Array): number {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const end = bytes.indexOf(0x0a, start);
    const stop = end === -1 ? bytes.length : end;
    if (!isUtf8(bytes.subarray(start, stop))) return line;
    start = stop + 1;
  }
  return line;
}
