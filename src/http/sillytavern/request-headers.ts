import type { IncomingMessage } from 'node:http';
import { namedIn } from './connection-options.ts';
import { cookiesForPlugin } from './cookies.ts';
import type { Mount } from './mount.ts';

/** Of one connection, or between the caller and us. `Expect` was answered when the request came. */
const NOT_PASSED: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
  // Where a token of ours may be, on our own routes.
  'authorization',
  'x-api-key',
  'x-csrf-token',
  'forwarded',
]);

/** What the plugin is told of a request, as names and values in turn. `own` is what nobody but we may say. */
export function headersForPlugin(
  { rawHeaders, headers, socket }: IncomingMessage,
  { prefix }: Mount,
  own: Readonly<Record<string, string>>,
): string[] {
  const { host = '' } = headers;
  const told = ['host', host];
  const nominated = namedIn(headers.connection);
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    const value = rawHeaders[at + 1] ?? '';
    const key = name.toLowerCase();
    if (NOT_PASSED.has(key) || key.startsWith('x-forwarded-') || key.startsWith('isopod-')) continue;
    if (nominated?.has(key)) continue;
    if (key !== 'cookie') told.push(name, value);
    else {
      const left = cookiesForPlugin(value);
      if (left !== undefined) told.push(name, left);
    }
  }
  told.push('x-forwarded-for', socket.remoteAddress ?? 'unknown', 'x-forwarded-proto', 'http');
  told.push('x-forwarded-host', host);
  if (prefix !== '') told.push('x-forwarded-prefix', prefix);
  for (const name in own) told.push(name, own[name] ?? '');
  return told;
}
