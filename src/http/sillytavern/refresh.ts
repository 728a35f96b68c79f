import type { Mount } from './mount.ts';
import { type Asked, redirectFor } from './redirects.ts';

/**
 * A `Refresh` for the caller, with where it leads as a `Location` may; null where it is none. It is read as browsers read it
 * (WHATWG HTML, "shared declarative refresh steps"), and written so that it can be read in no other way. Throws a Failure.
 */
export function refreshFor(value: string, mount: Mount, asked: Asked): string | null {
  const found = REFRESH.exec(value)?.groups;
  if (found === undefined) return null;
  const { rest = '' } = found;
  const time = found.time || '0';
  if (rest === '') return time;
  const { url = rest } = NAMED.exec(rest)?.groups ?? {};
  const quote = /^["']/.exec(url)?.[0];
  const location = quote === undefined ? url : (url.slice(1).split(quote, 1)[0] ?? '');
  // What has one of them is nowhere that anybody would be sent.
  return /["']/.test(location) ? null : `${time}; url="${redirectFor(location, mount, asked)}"`;
}

const REFRESH = /^[\t ]*(?=[\d.])(?<time>\d*)(?:\.[\d.]*)?(?:$|[\t ]*[;,\t ][\t ]*(?<rest>.*)$)/s;
const NAMED = /^url[\t ]*=[\t ]*(?<url>.*)$/is;
