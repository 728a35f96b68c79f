/**
 * The way from an invocation to other hosts: by permission only. A name has to be granted; then it is looked up once, all
 * of its addresses are judged, and just those are connected to, so that no second look-up can say something else. Where
 * one of them may not be reached the host may not: a name that leads to the internet and to us is a trap.
 */
import { connect, type LookupFunction, type Socket, type TcpNetConnectOpts } from 'node:net';
import type { EgressDecision, EgressReason } from '../../core/grant.ts';
import { type HostPattern, matches, patternOf } from '../../core/host-pattern.ts';
import type { OpenSession } from '../sessions.ts';
import { Reach, type ReachOptions } from './address.ts';
import { AHEAD_BYTES, Allowance, type AllowanceLimits } from './allowance.ts';
import { addressesOf, askNameServers, type Resolve } from './resolver.ts';
import type { Target } from './target.ts';

export type EgressLimits = AllowanceLimits & {
  /** How long a look-up and a connection may take together. */
  connectMs: number;
  /** A connection on which nothing comes or goes is ended. */
  idleMs: number;
};

export type EgressOptions = EgressLimits & ReachOptions & { resolve?: Resolve };

/** What is wanted, as it was written; `target` is null where that is no way to name a host. */
export type Wish = { words: string; target: Target | null };

export type Way =
  | { socket: Socket; allowance: Allowance }
  | { refused: Exclude<EgressReason, 'granted'> }
  | { failed: 'unreachable' | 'too slow' };

/** More are not tried, one after the other. */
const ADDRESSES_MOST = 8;
const NEXT_ADDRESS_MS = 1_000;

export class Egress {
  readonly #options: EgressOptions;
  readonly #reach: Reach;
  readonly #resolve: Resolve;
  readonly #patterns = new WeakMap<readonly string[], HostPattern[]>();
  readonly #allowances = new WeakMap<OpenSession, Allowance>();

  constructor(options: EgressOptions) {
    this.#options = options;
    this.#reach = new Reach(options);
    this.#resolve = options.resolve ?? askNameServers;
  }

  /** Decides, says so, and connects. The socket counts until it is closed. */
  async open(session: OpenSession, { words, target }: Wish, gone: AbortSignal): Promise<Way> {
    const { host, port } = target ?? { host: nameless(words), port: 0 };
    const decide = (because: EgressReason) => session.holder.decided(decisionOf(host, port, because));
    const refuse = (because: Exclude<EgressReason, 'granted'>) => {
      decide(because);
      return { refused: because };
    };
    const allowance = this.#allowanceOf(session, host, port);
    const isGranted = target !== null && this.#isGranted(session, target);
    const attempt = allowance.attempt(isGranted ? 'granted' : 'astray', performance.now());
    if (attempt !== 'fine') return attempt === 'last' ? refuse('exhausted') : { refused: 'exhausted' };
    if (!isGranted) return refuse(target === null ? 'malformed' : 'not granted');
    const leave = allowance.enter();
    if (leave === null) return refuse('exhausted');

    let socket: Socket | null = null;
    const deadline = AbortSignal.timeout(this.#options.connectMs);
    const signal = AbortSignal.any([gone, deadline]);
    try {
      const addresses = await addressesOf(host, this.#resolve, signal);
      if (gone.aborted) return { failed: 'unreachable' };
      if (addresses.length === 0) return refuse('unresolved');
      if (!addresses.every((one) => this.#reach.allows(one, port))) return refuse('special address');
      decide('granted');
      socket = await dial(addresses.slice(0, ADDRESSES_MOST), port, signal);
      if (socket === null) return { failed: deadline.aborted ? 'too slow' : 'unreachable' };
      socket.once('close', leave);
      socket.setTimeout(this.#options.idleMs, () => socket?.destroy());
      return { socket, allowance };
    } finally {
      if (socket === null) leave();
    }
  }

  #isGranted({ holder }: OpenSession, { host, port }: Target): boolean {
    let patterns = this.#patterns.get(holder.network);
    if (patterns === undefined) {
      patterns = holder.network.flatMap((one) => patternOf(one) ?? []);
      this.#patterns.set(holder.network, patterns);
    }
    return patterns.some((one) => matches(one, host, port));
  }

  #allowanceOf(session: OpenSession, host: string, port: number): Allowance {
    let allowance = this.#allowances.get(session);
    if (allowance === undefined) {
      // By whichever connection it was: the first is named.
      allowance = new Allowance(this.#options, () => session.holder.decided(decisionOf(host, port, 'exhausted')));
      this.#allowances.set(session, allowance);
    }
    return allowance;
  }
}

/** Words that name no host, as far as they may be told: never who somebody is, or the password. */
function nameless(words: string): string {
  return words.replace(/^(\w+:\/\/)?.*@/s, '$1…@').slice(0, 255);
}

function decisionOf(host: string, port: number, because: EgressReason): EgressDecision {
  return { host, port, verdict: because === 'granted' ? 'allowed' : 'refused', because };
}

/** Connects to one of just these addresses; null where none answers in time. What goes wrong on it later ends it. */
async function dial(addresses: readonly string[], port: number, signal: AbortSignal): Promise<Socket | null> {
  if (signal.aborted) return null;
  const families = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  // Whatever is asked for: the addresses are known.
  const lookup: LookupFunction = (_host, _options, callback) => callback(null, families);
  // Its types know of no `highWaterMark` there.
  const options: TcpNetConnectOpts & { highWaterMark: number } = {
    host: 'looked-up.invalid',
    port,
    lookup,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
    highWaterMark: AHEAD_BYTES,
    allowHalfOpen: true,
    noDelay: true,
  };
  const socket = connect(options);
  const { promise, resolve } = Promise.withResolvers<Socket | null>();
  const stop = () => socket.destroy();
  signal.addEventListener('abort', stop, { once: true });
  socket.on('error', () => {});
  socket.once('connect', () => resolve(socket)).once('close', () => resolve(null));
  const connected = await promise;
  signal.removeEventListener('abort', stop);
  return connected;
}
