/** What a request wants of something that has an ETag and a length (RFC 9110, sections 13 and 14). */
import type { IncomingHttpHeaders } from 'node:http';

export type Wanted =
  | { status: 200 | 206; from: number; length: number }
  /** It has it already. */
  | { status: 304 }
  /** It wanted another. */
  | { status: 412 }
  /** It wants a part that is not there. */
  | { status: 416 };

export type Had = { etag: string; bytes: number };

export function wantedOf(method: string, headers: IncomingHttpHeaders, { etag, bytes }: Had): Wanted {
  const match = headers['if-match'];
  if (match !== undefined && !names(match, etag, 'strongly')) return { status: 412 };
  const noneMatch = headers['if-none-match'];
  if (noneMatch !== undefined && names(noneMatch, etag, 'weakly')) return { status: 304 };
  const whole = { status: 200, from: 0, length: bytes } as const;
  const { range, 'if-range': only } = headers;
  if (method !== 'GET' || range === undefined) return whole;
  // A date counts as another version: there are none here.
  if (only !== undefined && only !== etag) return whole;
  return partOf(range, bytes) ?? whole;
}

function names(list: string, etag: string, how: 'strongly' | 'weakly'): boolean {
  if (list.trim() === '*') return true;
  const tags = list.split(',').map((one) => one.trim());
  return tags.some((one) => (how === 'weakly' ? one.replace(/^W\//, '') : one) === etag);
}

/** One range; several, or what is none, count as not said. */
function partOf(range: string, bytes: number): Wanted | null {
  const found = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(range.trim());
  if (found === null) return null;
  const [, first = '', last = ''] = found;
  if (first === '' && last === '') return null;
  const from = first === '' ? Math.max(0, bytes - Number(last)) : Number(first);
  const to = first === '' || last === '' ? bytes - 1 : Math.min(Number(last), bytes - 1);
  if (first !== '' && last !== '' && Number(last) < Number(first)) return null;
  return from > to ? { status: 416 } : { status: 206, from, length: to - from + 1 };
}
