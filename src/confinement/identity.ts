import { createHash } from 'node:crypto';

/**
 * Whom a program runs as, where we are root and can be anybody: a user of its own for each plugin of each tenant, the
 * same at every start. So no plugin can signal another's processes, open its files, or use up what the kernel allots to
 * a user. The numbers lie where neither people nor containers nor services are given any.
 */
export function identityOf(tenant: string, plugin: string): number {
  const hash = createHash('sha256').update(`${tenant}\0${plugin}`).digest();
  return FIRST + (hash.readUInt32BE(0) % COUNT);
}

/** Of what runs for nobody in particular. */
export const NOBODY = 65_534;

const FIRST = 0x5000_0000;
const COUNT = 0x2000_0000;
