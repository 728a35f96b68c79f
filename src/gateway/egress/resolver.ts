import { Resolver } from 'node:dns/promises';
import { isAddress } from '../../core/host-pattern.ts';

/** All addresses of a name, of both kinds; none where there is no such name. */
export type Resolve = (host: string, signal: AbortSignal) => Promise<readonly string[]>;

/**
 * Asks the name servers of this machine. Not by the system's own look-up: that one holds a thread of the few that files
 * are read with, for as long as whoever has the name likes.
 */
export async function askNameServers(host: string, signal: AbortSignal): Promise<readonly string[]> {
  const resolver = new Resolver({ timeout: 2_000, tries: 2 });
  const cancel = () => resolver.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
    return answers.flatMap((one) => (one.status === 'fulfilled' ? one.value : []));
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

/** Those of a host in the form of `hostOf`, in the form of `net`; none where it takes too long. */
export async function addressesOf(host: string, resolve: Resolve, signal: AbortSignal): Promise<readonly string[]> {
  if (isAddress(host)) return [host.replace(/^\[|\]$/g, '')];
  const never = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  return await Promise.race([resolve(host, signal), never]).catch(() => []);
}
