import type { FastifyRequest } from 'fastify';
import { tenantIn } from '../../tenant-path.ts';

type Asked = Pick<FastifyRequest, 'headers' | 'protocol' | 'originalUrl'>;

/**
 * How the caller reaches us, for the URLs in an answer: scheme, host, the prefix that a proxy says it has taken off, and
 * the tenant where the path names one. What does not look like a host or a prefix counts as not said; without a host, the
 * URLs are paths.
 */
export function baseOf({ headers, protocol, originalUrl }: Asked): string {
  const { host = '', 'x-forwarded-proto': scheme, 'x-forwarded-prefix': prefix } = headers;
  const origin = HOST.test(host) ? `${scheme === 'https' || scheme === 'http' ? scheme : protocol}://${host}` : '';
  const tenant = tenantIn(originalUrl);
  return `${origin}${prefixIn(prefix)}${tenant === undefined ? '' : `/t/${tenant}`}`;
}

function prefixIn(header: string | string[] | undefined): string {
  if (typeof header !== 'string' || header.length > 200) return '';
  const prefix = header.replace(/\/$/, '');
  return PREFIX.test(prefix) && !/\/\.\.?(\/|$)/.test(prefix) ? prefix : '';
}

const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;
const PREFIX = /^(?:\/[A-Za-z0-9._~-]+)+$/;
