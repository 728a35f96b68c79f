/** The one cookie that we set. */
export const SESSION_COOKIE = 'isopod-session';

/** Cookies that are called so are between us and browsers. */
function isOurs(name: string): boolean {
  return name.trim().toLowerCase().startsWith('isopod-');
}

/** A `Cookie` header without ours; undefined where nothing is left of it. */
export function cookiesForPlugin(header: string): string | undefined {
  if (!/isopod-/i.test(header)) return header;
  const others = header.split(';').filter((pair) => !isOurs(pair.split('=', 1)[0] ?? ''));
  return others.join(';').trim() || undefined;
}

/**
 * A cookie as a plugin may set it: seen by nobody but itself. Null where it may not: one with our name, and one without a
 * name, which would be sent back as if its value were one.
 */
export function cookieOfPlugin(header: string, mount: string): string | null {
  const [pair = '', ...attributes] = header.split(';');
  const at = pair.indexOf('=');
  const name = pair.slice(0, at).trim();
  if (at === -1 || name === '' || isOurs(name)) return null;
  const path = attributes.findLast((one) => isNamed(one, 'path'));
  const others = attributes.filter((one) => !isNamed(one, 'path') && !isNamed(one, 'domain'));
  return [pair, ...others, ` Path=${pathBelow(mount, path)}`].join(';');
}

function isNamed(attribute: string, name: string): boolean {
  return attribute.split('=', 1)[0]?.trim().toLowerCase() === name;
}

function pathBelow(mount: string, attribute: string | undefined): string {
  const path = attribute?.slice(attribute.indexOf('=') + 1).trim() ?? '';
  return path.startsWith(`${mount}/`) ? path : mount;
}
