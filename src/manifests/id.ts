import { Refused } from './refused.ts';

const MOST_BYTES = 200;

// Control and formatting characters, lone surrogates, line and paragraph separators: an id stands in URLs, log
// lines and metrics, and must look like what it is.
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

/** The id that a file name gives: all before the last dot. `foo.bar.yml` is `foo.bar`. */
export function idOf(fileName: string): string {
  const id = fileName.slice(0, fileName.lastIndexOf('.'));
  if (id === '') throw new Refused(null, 'the file name gives the plugin its id, and there is nothing before its dot');
  return checkedId(id, 'file');
}

/** What may be an id, of that which is called so. */
export function checkedId(id: string, called: 'file' | 'folder'): string {
  const rename = `rename the ${called}`;
  if (/^\.+$/.test(id)) throw new Refused(null, `a plugin id may not be of dots only; ${rename}`);
  if (id.includes('/')) throw new Refused(null, `a plugin id may not contain "/"; ${rename}`);
  if (UNPRINTABLE.test(id)) {
    throw new Refused(null, `a plugin id may not contain control or invisible characters; ${rename}`);
  }
  if (Buffer.byteLength(id) > MOST_BYTES) {
    throw new Refused(null, `a plugin id may be ${MOST_BYTES} bytes long at most; ${rename}`);
  }
  return id;
}
