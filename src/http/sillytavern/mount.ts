import type { FastifyRequest } from 'fastify';
import { ADDRESS, RESERVED_ADDRESSES } from '../../core/serving.ts';
import { tenantIn } from '../tenant-path.ts';

/** Where callers find a plugin: below `path`, which begins with the `prefix` by which they have named their tenant. */
export type Mount = { prefix: string; address: string; path: string };

/** As the router has it: what is no address, or is reserved, is an address of Dispatcharr's. */
export const ADDRESS_PARAM = `:address(^(?!(?:${RESERVED_ADDRESSES.join('|')})$)${ADDRESS.source.slice(1, -1)}$)`;

const AT = /^\/api\/plugins\/([a-z0-9_-]+)(?=[/?#]|$)/;

/**
 * The address is what the path has there, undecoded: nothing that comes after it changes whose request this is. Null for a
 * path that reads so only once it is decoded, or that is a whole URL.
 */
export function mountOf({ raw, originalUrl }: FastifyRequest): Mount | null {
  const address = AT.exec(raw.url ?? '')?.[1];
  return address === undefined ? null : mountAt(address, originalUrl);
}

export function mountAt(address: string, originalUrl: string): Mount {
  const tenant = tenantIn(originalUrl);
  const prefix = tenant === undefined ? '' : `/t/${tenant}`;
  return { prefix, address, path: `${prefix}/api/plugins/${address}` };
}
