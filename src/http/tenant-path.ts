/**
 * `/t/{tenant}/…` is `…` for that tenant, on any route. The prefix is taken off before the path is looked at, once and
 * undecoded; who may use it is decided where we know who asks. An id has no character that could be written otherwise,
 * so what does not look like one is no prefix, and there is nothing at its address.
 */
import { TENANT_ID } from '../core/tenant.ts';

const PREFIX = new RegExp(`^/t/(${TENANT_ID.source.slice(1, -1)})(?=/)`);

/** The address without its prefix. */
export function withoutTenant(url: string): string {
  const prefix = found(url)?.[0];
  return prefix === undefined ? url : url.slice(prefix.length);
}

/** The tenant that an address names. */
export function tenantIn(url: string): string | undefined {
  return found(url)?.[1];
}

function found(url: string): RegExpExecArray | null {
  return url.startsWith('/t/') ? PREFIX.exec(url) : null;
}
