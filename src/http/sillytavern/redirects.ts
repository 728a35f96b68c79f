/**
 * Where a plugin may send its callers. A client that follows a redirect takes along its method, its body and, to the same
 * host, its token: so a plugin could have it ask our own API for what only the caller may do. At this host it may redirect
 * to its own routes alone; to others as it likes, where clients drop the token.
 *
 * What a browser follows is read as browsers read it (WHATWG URL). curl reads some of that differently, and whatever only
 * one of them would understand is refused.
 */
import { isLoopbackHost } from '../auth.ts';
import { invalid } from './faults.ts';
import type { Mount } from './mount.ts';

/** What was asked for, as the caller has written it. */
export type Asked = { host: string | undefined; url: string; localPort: number | undefined };

/** A `Location` for the caller; a plugin knows its address without the prefix by which they have come. Throws a Failure. */
export function redirectFor(value: string, mount: Mount, asked: Asked): string {
  const location = locationFor(value, mount);
  // Header fields are bytes, which Node reads as Latin-1 and browsers as UTF-8.
  for (const text of new Set([location, Buffer.from(location, 'latin1').toString('utf8')])) {
    // A proxy before us may speak TLS, which changes what `https:/path` is.
    for (const scheme of ['http', 'https']) {
      if (!isAllowed(text, `${scheme}://${asked.host || UNKNOWN}${asked.url}`, mount, asked)) throw astray(mount);
    }
  }
  return location;
}

/** The same where nobody follows it by themselves. */
export function locationFor(value: string, { prefix, address }: Mount): string {
  return prefix !== '' && isBelow(value, `/api/plugins/${address}`) ? prefix + value : value;
}

function isAllowed(location: string, base: string, mount: Mount, asked: Asked): boolean {
  if (BENT.test(location)) return false;
  const target = URL.parse(location, base);
  if (target === null) return false;
  if (target.protocol !== 'http:' && target.protocol !== 'https:') return true;
  if (!isOurs(target, URL.parse(base), asked)) return true;
  return isBelow(target.pathname, mount.path) && !HIDDEN_DOTS.test(location);
}

/** Backslashes and tabs before the query, by which one host becomes another. */
const BENT = /^[^?#]*[\\\t]/;

/** Steps up that some take for a name. */
const HIDDEN_DOTS = /^(?:[^?#]*\/)?(?:%2e|\.%2e|%2e\.|%2e%2e)(?:[/?#]|$)/i;

const UNKNOWN = 'unknown.invalid';

function isOurs(target: URL, base: URL | null, { host, localPort }: Asked): boolean {
  if (host === undefined || host === '' || base === null) return true;
  const is = nameOf(target);
  const ours = nameOf(base);
  if (is !== ours && !(isThisMachine(is) && isThisMachine(ours))) return false;
  const port = portOf(target);
  // Where they have come by way of a proxy, its ports are not known.
  return portOf(base) !== localPort || port === localPort;
}

function nameOf({ hostname }: URL): string {
  return hostname.replace(/\.+$/, '');
}

function portOf({ port, protocol }: URL): number {
  return port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
}

function isThisMachine(name: string): boolean {
  return isLoopbackHost(name) || name.endsWith('.localhost') || NOWHERE.has(name) || name.startsWith('[::ffff:7f');
}

/** A client that connects to nowhere in particular gets to its own machine. */
const NOWHERE: ReadonlySet<string> = new Set(['0.0.0.0', '[::]', '[::ffff:0:0]']);

function isBelow(path: string, base: string): boolean {
  return path.startsWith(base) && /^(?:[/?#]|$)/.test(path.slice(base.length));
}

function astray({ path }: Mount) {
  const words = `it redirects to what is ours: at this host, a plugin may redirect to its own routes alone, below ${path}`;
  return invalid(words);
}
