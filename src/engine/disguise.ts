import { REDACTED } from '../core/application.ts';
import { hostOf } from '../core/host-pattern.ts';

/**
 * The name of a host that a plugin has asked for, without what is secret in its settings: names are put together of
 * anything, and are told to whoever reads our log. They have small letters, and punycode, whatever was written.
 */
export function disguised(host: string, secrets: readonly string[]): string {
  const written = secrets.flatMap((one) => [one, hostOf(one) ?? one]).filter((one) => one.length <= host.length);
  if (written.length === 0) return host;
  const longestFirst = [...new Set(written)].sort((one, other) => other.length - one.length);
  return host.replace(new RegExp(longestFirst.map((one) => RegExp.escape(one)).join('|'), 'gi'), REDACTED);
}
