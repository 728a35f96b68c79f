/**
 * Which addresses may be connected to: those of the public internet, and what the operator has named. An address that
 * carries another one (IPv4 in IPv6) counts as that one, or as none at all.
 */
import { networkInterfaces } from 'node:os';
import ipaddr, { type IPv4, type IPv6 } from 'ipaddr.js';

export type ReachOptions = {
  /** Special ranges that may be reached after all, e.g. `192.168.1.0/24`. */
  ranges: readonly string[];
  /** The ports that this service itself has. */
  ours(): Iterable<number>;
};

/** Where clouds tell machines their secrets. */
const METADATA: ReadonlySet<string> = new Set([
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
]);

/** No range of anybody's makes these reachable: they are no machine, or this one under another name. */
const NEVER: ReadonlySet<string> = new Set(['unspecified', 'broadcast', 'multicast']);

export class Reach {
  readonly #ranges: readonly [IPv4 | IPv6, number][];
  readonly #ours: () => Iterable<number>;

  constructor({ ranges, ours }: ReachOptions) {
    this.#ranges = ranges.map((one) => ipaddr.parseCIDR(one));
    this.#ours = ours;
  }

  allows(address: string, port: number): boolean {
    const carried = carriedBy(address);
    if (carried === null || METADATA.has(carried.toString()) || NEVER.has(carried.range())) return false;
    const isOurs = [...this.#ours()].includes(port);
    if (isGlobal(carried)) return !(isOurs && isOfThisMachine(carried));
    return !isOurs && this.#ranges.some(([net, bits]) => net.kind() === carried.kind() && carried.match(net, bits));
  }
}

/** What an address means in the end; null for none that we know how to judge. */
function carriedBy(text: string): IPv4 | IPv6 | null {
  // A zone says which interface of ours, which is nobody's to choose.
  if (!ipaddr.isValid(text) || text.includes('%')) return null;
  const address = ipaddr.parse(text);
  if (isFour(address)) return address;
  if (address.isIPv4MappedAddress()) return address.toIPv4Address();
  // NAT64 by its well-known prefix: with DNS64, all that has no IPv6 is found there.
  return address.match(NAT64) ? ipaddr.fromByteArray(address.toByteArray().slice(12)) : address;
}

const NAT64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96');
/** All of IPv6 that is given out. */
const GIVEN_OUT = ipaddr.IPv6.parseCIDR('2000::/3');

function isGlobal(address: IPv4 | IPv6): boolean {
  return address.range() === 'unicast' && (isFour(address) || address.match(GIVEN_OUT));
}

function isFour(address: IPv4 | IPv6): address is IPv4 {
  return address.kind() === 'ipv4';
}

function isOfThisMachine(address: IPv4 | IPv6): boolean {
  const all = Object.values(networkInterfaces()).flatMap((one) => one ?? []);
  return all.some((one) => ipaddr.parse(one.address.replace(/%.*/, '')).toString() === address.toString());
}
