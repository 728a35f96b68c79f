import { namedIn } from './connection-options.ts';
import { cookieOfPlugin } from './cookies.ts';
import { invalid } from './faults.ts';
import type { Mount } from './mount.ts';
import { type Asked, locationFor, redirectFor } from './redirects.ts';
import { refreshFor } from './refresh.ts';

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** What a plugin says there is not passed on. */
const NOT_PASSED: ReadonlySet<string> = new Set([
  // Of one connection.
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authentication-info',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  // By these a browser would change how it treats all that is at our origin, or at our host.
  'service-worker-allowed',
  'clear-site-data',
  'strict-transport-security',
  'public-key-pins',
  'public-key-pins-report-only',
  'expect-ct',
  'alt-svc',
  'nel',
  'report-to',
  'reporting-endpoints',
  'origin-agent-cluster',
  'accept-ch',
  'critical-ch',
  'set-login',
  'use-as-dictionary',
  'activate-storage-access',
  'secure-session-registration',
  'secure-session-challenge',
  'sec-session-registration',
  'sec-session-challenge',
  // It would ask people for a password that no plugin is ever told.
  'www-authenticate',
  // By these a proxy before us would read files for it.
  'x-accel-redirect',
  'x-sendfile',
  'x-sendfile2',
  'x-sendfile-temporary',
  'x-lighttpd-send-file',
  'x-lighttpd-send-tempfile',
  'x-litespeed-location',
  'x-reproxy-url',
  // We say this ourselves.
  'x-content-type-options',
  'date',
]);

/**
 * A page of a plugin is on our origin, where whoever is on this machine may be an operator: in this sandbox it has an
 * origin that is nobody's, and asks for nothing in our name.
 */
const SANDBOX = 'sandbox allow-scripts allow-forms allow-popups allow-downloads allow-modals';

export type Telling = {
  status: number;
  mount: Mount;
  asked: Asked;
  isSandboxed: boolean;
  /** What we say ourselves, of whatever answer: nobody else does. */
  own: readonly (readonly [string, string])[];
};

/** What the caller is told of an answer, as names and values in turn. Throws a Failure where it may not be told. */
export function headersForCaller(headers: Headers, telling: Telling): string[] {
  const told: string[] = [];
  const packed = [headers['transfer-encoding'] ?? []].flat();
  if (packed.some((one) => one.trim().toLowerCase() !== 'chunked')) throw invalid('it is packed for the way');
  const nominated = namedIn(headers.connection);
  const ours = new Set(telling.own.map(([name]) => name));
  for (const name in headers) {
    if (NOT_PASSED.has(name) || ours.has(name) || name.startsWith('isopod-') || nominated?.has(name)) continue;
    const value = headers[name];
    // Several are one to a browser.
    if (name === 'refresh') tell(told, name, [value].flat().join(', '), telling);
    else if (typeof value === 'string') tell(told, name, value, telling);
    else if (value !== undefined) for (const one of value) tell(told, name, one, telling);
  }
  told.push('x-content-type-options', 'nosniff');
  // Beside the plugin's own: all of them hold.
  if (telling.isSandboxed) told.push('content-security-policy', SANDBOX);
  for (const [name, value] of telling.own) told.push(name, value);
  return told;
}

function tell(told: string[], name: string, value: string, { status, mount, asked }: Telling): void {
  if (name === 'set-cookie') {
    const cookie = cookieOfPlugin(value, mount.path);
    if (cookie !== null) told.push(name, cookie);
  } else if (name === 'location') {
    const isFollowed = status >= 300 && status < 400;
    told.push(name, isFollowed ? redirectFor(value, mount, asked) : locationFor(value, mount));
  } else if (name === 'refresh') {
    const refresh = refreshFor(value, mount, asked);
    if (refresh !== null) told.push(name, refresh);
  } else if (name !== 'content-length' || status !== 204) told.push(name, value);
}
