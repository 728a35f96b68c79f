import { createHmac, randomInt } from 'node:crypto';

/**
 * Whom a program runs as, where we are root and can be anybody: a user of its own for each plugin of each tenant, the
 * same at every start. So no plugin can signal another's processes, open its files, or use up what the kernel allots to
 * a user. The numbers lie where neither people nor containers nor services are given any. They are few enough that
 * whoever could work them out would find a name that gets another's: so nobody can who does not have the key.
 */
export function identityOf(key: Buffer, tenant: string, plugin: string): number {
  const hash = createHmac('sha256', key).update(`${tenant}\0${plugin}`).digest();
  return FIRST + (hash.readUInt32BE(0) % COUNT);
}

/** Of what runs once. */
export function passingIdentity(): number {
  return FIRST + randomInt(COUNT);
}

/** Of what runs for nobody in particular. */
export const NOBODY = 65_534;

const FIRST = 0x5000_0000;
const COUNT = 0x2000_0000;
