/** What belongs to one connection and is not passed on (RFC 9110, 7.6.1), and what we say ourselves. */
const HERE: ReadonlySet<string> = new Set([
  'connection',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
]);

/** Says why something was let through or refused; nobody else may say it. */
export const REASON_HEADER = 'isopod-egress';

/** Headers in the raw form of Node, name after value, without those that are of this connection alone. */
export function passedOn(raw: readonly string[]): string[] {
  const dropped = new Set([...HERE, REASON_HEADER]);
  for (const value of valuesOf(raw, 'connection'))
    for (const name of value.split(',')) dropped.add(name.trim().toLowerCase());
  // Where a message ends is not for its sender to take back.
  dropped.delete('content-length');
  const kept: string[] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name = '', value = ''] = [raw[at], raw[at + 1]];
    if (!dropped.has(name.toLowerCase())) kept.push(name, value);
  }
  return kept;
}

/** All values of a header, as they came. */
export function valuesOf(raw: readonly string[], wanted: string): string[] {
  return raw.filter((_, at) => at % 2 === 1 && raw[at - 1]?.toLowerCase() === wanted);
}

/** About what they take on the way. */
export function bytesOf(raw: readonly string[]): number {
  return raw.reduce((sum, part) => sum + part.length + 2, 0);
}
