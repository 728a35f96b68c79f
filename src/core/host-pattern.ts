/**
 * Names of hosts in one form, and what grants say about them. What a name means is read as browsers do (WHATWG URL), so
 * that `0x7f.1`, `bücher.example` and `EXAMPLE.com.` are what a connection would take them for.
 */

/** Hosts that are granted, or asked for. */
export type HostPattern = {
  /** In the form of `hostOf`; of `*.example.com`, what is after the star. */
  host: string;
  /** All that is below it, and not it itself. */
  below: boolean;
  ports: readonly number[];
};

/** What is meant where no port is named. */
const USUAL_PORTS: readonly number[] = [80, 443];

const LETTERS_MOST = 253;
/** Whatever a URL would take for its end, or for somebody's name. */
const NO_HOST = /[\s/?#@\\%*:]/;
const PLAIN = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/;
const BRACKETED = /^\[[\da-f:.]+\]$/i;

/** The host as connections mean it: small letters, punycode, IPv4 in four numbers, IPv6 in brackets. Null for no host. */
export function hostOf(text: string): string | null {
  if (text.length > LETTERS_MOST || (NO_HOST.test(text) && !BRACKETED.test(text))) return null;
  const host = URL.parse(`http://${text}/`)?.hostname.replace(/\.$/, '');
  if (host === undefined || host.length > LETTERS_MOST) return null;
  return PLAIN.test(host) || BRACKETED.test(host) ? host : null;
}

/** Whether a host in that form is an address, and no name. */
export function isAddress(host: string): boolean {
  return host.startsWith('[') || /^[\d.]+$/.test(host);
}

/** `api.example.com`, `*.example.com`, `example.com:8443`, `192.0.2.1`, `[2001:db8::1]:8080`. Null for anything else. */
export function patternOf(text: string): HostPattern | null {
  const [, star, named = '', digits] = /^(\*\.)?(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = hostOf(named);
  const port = Number(digits ?? USUAL_PORTS[0]);
  if (host === null || port < 1 || port > 65_535) return null;
  const below = star !== undefined;
  // Below a name of one word is half of the world.
  if (below && (isAddress(host) || !host.includes('.'))) return null;
  return { host, below, ports: digits === undefined ? USUAL_PORTS : [port] };
}

/** As it is kept and shown. */
export function written({ host, below, ports }: HostPattern): string {
  return `${below ? '*.' : ''}${host}${ports === USUAL_PORTS ? '' : `:${ports[0]}`}`;
}

/** `host` is in the form of `hostOf`. */
export function matches(pattern: HostPattern, host: string, port: number): boolean {
  return pattern.ports.includes(port) && includes(pattern, { host, below: false });
}

/** Whether all that is asked for is granted by these together. */
export function covers(granted: readonly HostPattern[], asked: HostPattern): boolean {
  return asked.ports.every((port) => granted.some((one) => one.ports.includes(port) && includes(one, asked)));
}

/** The fewest patterns for these hosts and ports. */
export function patternsFor(wanted: Iterable<{ host: string; port: number }>): string[] {
  const byHost = new Map<string, Set<number>>();
  for (const { host, port } of wanted) byHost.set(host, (byHost.get(host) ?? new Set()).add(port));
  return [...byHost].flatMap(([host, ports]) => {
    const isUsual = USUAL_PORTS.every((port) => ports.has(port));
    const others = [...ports].filter((port) => !isUsual || !USUAL_PORTS.includes(port));
    return [...(isUsual ? [host] : []), ...others.map((port) => `${host}:${port}`)];
  });
}

function includes(one: HostPattern, other: Pick<HostPattern, 'host' | 'below'>): boolean {
  if (one.below) return other.host.endsWith(`.${one.host}`) || (other.below && other.host === one.host);
  return !other.below && other.host === one.host;
}
