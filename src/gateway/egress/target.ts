import { hostOf } from '../../core/host-pattern.ts';

/** Where a request wants to go. `host` is in the form of `hostOf`. */
export type Target = { host: string; port: number };

const AUTHORITY = /^(\[[\da-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/i;
const HTTP = 80;

/** What stands after CONNECT. Null for what names no host in a form that all understand in the same way. */
export function targetOfConnect(text: string): Target | null {
  return authorityOf(text, undefined);
}

/** A whole URL, with the path to ask for there. */
export function targetOfUrl(url: string): { target: Target; path: string } | null {
  const [, authority, rest = ''] = /^http:\/\/([^/?#]*)([/?][^#]*)?$/i.exec(url) ?? [];
  const target = authority === undefined ? null : authorityOf(authority, HTTP);
  if (target === null) return null;
  return { target, path: rest.startsWith('/') ? rest : `/${rest}` };
}

/** Whether `Host` says the same, if it says anything. */
export function agrees(hosts: readonly string[], { host, port }: Target, usual: number): boolean {
  const [only, another] = hosts;
  if (only === undefined) return true;
  const named = another === undefined ? authorityOf(only, usual) : null;
  return named !== null && named.host === host && named.port === port;
}

function authorityOf(text: string, usual: number | undefined): Target | null {
  const [, named, digits] = AUTHORITY.exec(text) ?? [];
  const host = named === undefined ? null : hostOf(named);
  const port = digits === undefined ? usual : Number(digits);
  return host === null || port === undefined || port < 1 || port > 65_535 ? null : { host, port };
}
